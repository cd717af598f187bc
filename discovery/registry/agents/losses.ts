/** Of fewer hosts, most may well fail together. */
const FEWEST_HOSTS = 3;

/**
 * Tells hosts that fail from a control plane that is cut off: when more than
 * half of the hosts that were there are lost within one grace, the network of
 * the control plane itself is the likelier fault, and none of them is judged by it.
 */
export class Losses {
  readonly #graceMs: number;
  /** When each was lost, the oldest first. */
  readonly #recent = new Map<string, number>();
  /** Those that were taken to be lost by our own fault. */
  readonly #common = new Set<string>();

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
    this.forget(hostId);
    this.#recent.set(hostId, nowMs);
    for (const [lost, atMs] of this.#recent) {
      if (atMs + this.#graceMs >= nowMs) break;
      this.#recent.delete(lost);
    }
    const lost = this.#recent.size + this.#common.size;
    if (lost + others < FEWEST_HOSTS || lost <= others) return [];
    const fresh = [...this.#recent.keys()];
    for (const id of fresh) this.#common.add(id);
    this.#recent.clear();
    return fresh;
  }

  /** The host is back, or was judged all the same. */
  forget(hostId: string): void {
    this.#recent.delete(hostId);
    this.#common.delete(hostId);
  }
}
