import type { KeyValueStore } from "../../store/key-value.ts";

/**
 * Writes to the store behind the caller's back, one key at a time and the
 * newest value of each only: what waits is bounded by the number of keys.
 */
export class LatestWriter {
  readonly #store: KeyValueStore;
  readonly #onOutcome: (failure: unknown) => void;
  readonly #waiting = new Map<string, string | undefined>();
  #working: Promise<void> | undefined;

  /** @param onOutcome called after every write, with undefined where it succeeded; a failed one is not tried again */
  constructor(store: KeyValueStore, onOutcome: (failure: unknown) => void) {
    this.#store = store;
    this.#onOutcome = onOutcome;
  }

  /** @param value undefined: delete the key */
  write(key: string, value: string | undefined): void {
    this.#waiting.set(key, value);
    this.#working ??= this.#work();
  }

  /** Resolves when everything given so far is written, or has failed. */
  async close(): Promise<void> {
    await this.#working;
  }

  async #work(): Promise<void> {
    // A turn later, so that what is written together is written once.
    await Promise.resolve();
    for (let [next] = this.#waiting; next !== undefined; [next] = this.#waiting) {
      const [key, value] = next;
      this.#waiting.delete(key);
      try {
        await this.#store.txn([], [value === undefined ? { type: "delete", key } : { type: "put", key, value }]);
        this.#onOutcome(undefined);
      } catch (failure) {
        this.#onOutcome(failure);
      }
    }
    this.#working = undefined;
  }
}
