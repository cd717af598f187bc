import type { CodedError } from "../../base/coded-error.ts";
import type { RegistryCounters } from "./registry.ts";

/** Counts what following a source takes. A registry that follows one owns one. */
export class RegistryActivity {
  #wakes = 0;
  #wakesWithoutChange = 0;
  readonly #failures = new Map<string, number>();
  #lastSuccessAt: number | undefined;
  #lagMs: number | undefined;

  /** The source sent something. @param hasChanged it changed the registry's content @param count answers or events behind it */
  woke(hasChanged: boolean, count = 1): void {
    this.#wakes += count;
    if (!hasChanged) this.#wakesWithoutChange += count;
  }

  /** The source answered. @param at milliseconds since the epoch */
  answered(at: number): void {
    this.#lastSuccessAt = at;
  }

  /** An attempt failed; undefined is none. */
  failed(failure: CodedError | undefined): void {
    if (failure !== undefined) this.#failures.set(failure.code, (this.#failures.get(failure.code) ?? 0) + 1);
  }

  /** A change was published so long after it happened. Clocks differ: nothing is published before. */
  lagged(lagMs: number): void {
    this.#lagMs = Math.max(0, lagMs);
  }

  /** @param watches that are followed now */
  counters(watches: number): RegistryCounters {
    return {
      watches,
      wakes: this.#wakes,
      wakesWithoutChange: this.#wakesWithoutChange,
      failures: Object.fromEntries(this.#failures),
      lastSuccessAt: this.#lastSuccessAt,
      lagMs: this.#lagMs,
    };
  }
}
