/**
 * A limited number of places, given in the order of asking. Consul refuses more
 * than 200 connections from one address, and every blocking query holds one.
 */
export class Slots {
  readonly #waiting: (() => void)[] = [];
  #free: number;

  constructor(count: number) {
    this.#free = count;
  }

  /** True while somebody waits: whoever has a place should not keep it for long. */
  get isContended(): boolean {
    return this.#waiting.length > 0;
  }

  /** Resolves with the function that gives the place back, once. */
  async take(): Promise<() => void> {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    let isHeld = true;
    return () => {
      if (!isHeld) return;
      isHeld = false;
      const next = this.#waiting.shift();
      if (next === undefined) this.#free += 1;
      else next();
    };
  }
}
