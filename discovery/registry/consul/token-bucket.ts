import type { Clock } from "../../../base/clock.ts";

/** Lets `burst` through at once and then one per interval: a busy source is polled at that pace, a quiet one answers at once. */
export class TokenBucket {
  readonly #clock: Clock;
  readonly #burst: number;
  readonly #intervalMs: () => number;
  #tokens: number;
  #countedAt: number;

  constructor(clock: Clock, burst: number, intervalMs: number | (() => number)) {
    this.#clock = clock;
    this.#burst = burst;
    this.#intervalMs = typeof intervalMs === "number" ? () => intervalMs : intervalMs;
    this.#tokens = burst;
    this.#countedAt = clock.elapsed();
  }

  /** Takes one; gives how long to wait before using it, in milliseconds. */
  take(): number {
    const now = this.#clock.elapsed();
    const intervalMs = this.#intervalMs();
    this.#tokens = Math.min(this.#burst, this.#tokens + (now - this.#countedAt) / intervalMs);
    this.#countedAt = now;
    this.#tokens -= 1;
    return this.#tokens >= 0 ? 0 : Math.ceil(-this.#tokens * intervalMs);
  }
}
