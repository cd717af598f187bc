/**
 * Whether the Consul as a whole answers, as the list of names tells. Ten
 * thousand questions need not find out one by one that it is back.
 */
export class Pulse {
  #recovery: AbortController | undefined;

  /** While it is away: aborts when it is back. */
  get recovery(): AbortSignal | undefined {
    return this.#recovery?.signal;
  }

  stop(): void {
    this.#recovery ??= new AbortController();
  }

  beat(): void {
    const recovery = this.#recovery;
    this.#recovery = undefined;
    recovery?.abort();
  }
}
