/** Of fewer hosts, most may well fail together. */
const FEWEST_HOSTS = 3;

interface Loss {
  readonly atMs: number;
  isCommon: boolean;
}

/**
 * Tells hosts that fail from a control plane that is cut off: when more than
 * half of the hosts that were there are lost within one grace, the network of
 * the control plane itself is the likelier fault, and none of them is judged by it.
 */
export class Losses {
  readonly #graceMs: number;
  readonly #losses = new Map<string, Loss>();

  constructor(graceMs: number) {
    this.#graceMs = graceMs;
  }

  /**
   * Notes that a host was lost.
   *
   * @param nowMs by a clock that nobody sets, and that stands while nobody listens
   * @param others how many hosts are still there
   * @returns the hosts that are now taken to be lost by our own fault, and were not before
   */
  note(hostId: string, nowMs: number, others: number): string[] {
    this.#losses.set(hostId, { atMs: nowMs, isCommon: false });
    for (const [lost, { atMs, isCommon }] of this.#losses) if (!isCommon && atMs + this.#graceMs < nowMs) this.#losses.delete(lost);
    const lost = this.#losses.size;
    if (lost + others < FEWEST_HOSTS || lost <= others) return [];
    const fresh = [...this.#losses].filter(([, { isCommon }]) => !isCommon);
    for (const [, loss] of fresh) loss.isCommon = true;
    return fresh.map(([id]) => id);
  }

  /** The host is back, or was judged all the same. */
  forget(hostId: string): void {
    this.#losses.delete(hostId);
  }
}
