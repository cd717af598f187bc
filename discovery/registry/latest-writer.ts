import { backoffDelay } from "../../base/backoff.ts";
import type { Clock } from "../../base/clock.ts";
import { type KeyValueStore, storeLimits } from "../../store/key-value.ts";

const RETRY = { baseMs: 500, maxMs: 30_000 };
/** Keys that are on their way to the store at once: it writes to the disk once for all that it has. */
const IN_FLIGHT = 64;

type Value = string | (() => string) | undefined;

/**
 * Writes to the store behind the caller's back, each key by itself and the
 * newest value of each only: what waits is bounded by the number of keys. What
 * cannot be written is tried again until it can; a value that is too large for
 * any store is not.
 */
export class LatestWriter {
  readonly #store: KeyValueStore;
  readonly #clock: Clock;
  readonly #onOutcome: (failure: unknown) => void;
  readonly #waiting = new Map<string, Value>();
  /** Failed, and tried again when the pause is over. */
  readonly #failed = new Map<string, Value>();
  /** Too large to be written. */
  readonly #refused = new Set<string>();
  #working: Promise<void> | undefined;
  #cancelRetry: (() => void) | undefined;
  #attempt = 0;

  /** @param onOutcome called with every failure, and with undefined whenever all that was given is in the store */
  constructor(store: KeyValueStore, clock: Clock, onOutcome: (failure: unknown) => void) {
    this.#store = store;
    this.#clock = clock;
    this.#onOutcome = onOutcome;
  }

  /** @param value undefined: delete the key; a function is called when it is written, so that thousands do not take one turn */
  write(key: string, value: Value): void {
    this.#failed.delete(key);
    this.#waiting.set(key, value);
    this.#working ??= this.#work();
  }

  /** Tries once more what has failed; resolves when everything given so far is written, or cannot be. */
  async close(): Promise<void> {
    await this.#working;
    this.#retry();
    await this.#working;
    this.#cancelRetry?.();
  }

  #retry(): void {
    this.#cancelRetry?.();
    this.#cancelRetry = undefined;
    for (const [key, value] of this.#failed) this.#waiting.set(key, value);
    this.#failed.clear();
    if (this.#waiting.size > 0) this.#working ??= this.#work();
  }

  async #work(): Promise<void> {
    // A turn later, so that what is written together is written once.
    await Promise.resolve();
    while (this.#waiting.size > 0) {
      const batch = [...this.#waiting.entries().take(IN_FLIGHT)];
      for (const [key] of batch) this.#waiting.delete(key);
      await Promise.all(batch.map(([key, value]) => this.#writeOne(key, value)));
      if (this.#waiting.size + this.#failed.size + this.#refused.size === 0) this.#onOutcome(undefined);
    }
    this.#working = undefined;
    if (this.#failed.size === 0) this.#attempt = 0;
    else this.#cancelRetry ??= this.#clock.after(backoffDelay(RETRY, this.#attempt++), () => this.#retry());
  }

  async #writeOne(key: string, given: Value): Promise<void> {
    const value = typeof given === "function" ? given() : given;
    if (value !== undefined && Buffer.byteLength(value) > storeLimits.valueBytes) {
      this.#refused.add(key);
      this.#onOutcome(new Error(`${key} is larger than the ${storeLimits.valueBytes} bytes that a store takes`));
      return;
    }
    this.#refused.delete(key);
    try {
      await this.#store.txn([], [value === undefined ? { type: "delete", key } : { type: "put", key, value }]);
    } catch (failure) {
      // What was given meanwhile is newer.
      if (!this.#waiting.has(key)) this.#failed.set(key, value);
      this.#onOutcome(failure);
    }
  }
}
