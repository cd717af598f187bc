import type { Clock } from "../../base/clock.ts";

/** A clock that stands still until the test moves it. */
export interface ManualClock extends Clock {
  /** Moves the time on and calls back whatever is due, in order. */
  advance(byMs: number): void;
  /** Lets time pass in which no timer runs, as where the process is stopped or busy: they run late, with the next `advance`. */
  stall(byMs: number): void;
  /** Sets the wall clock, as an administrator does: no time passes, and no timer sees it. */
  step(byMs: number): void;
}

export function createManualClock(startMs = Date.UTC(2026, 0, 2, 3, 4, 5)): ManualClock {
  let nowMs = 0;
  let wallMs = startMs;
  const timers = new Map<object, { readonly dueMs: number; readonly callback: () => void }>();
  return {
    now: () => wallMs + nowMs,
    elapsed: () => nowMs,
    after(delayMs, callback) {
      const timer = {};
      timers.set(timer, { dueMs: nowMs + delayMs, callback });
      return () => timers.delete(timer);
    },
    advance(byMs) {
      const endMs = nowMs + byMs;
      for (;;) {
        const [next] = [...timers].filter(([, { dueMs }]) => dueMs <= endMs).toSorted(([, a], [, b]) => a.dueMs - b.dueMs);
        if (next === undefined) break;
        const [timer, { dueMs, callback }] = next;
        timers.delete(timer);
        nowMs = Math.max(nowMs, dueMs);
        callback();
      }
      nowMs = endMs;
    },
    stall(byMs) {
      nowMs += byMs;
    },
    step(byMs) {
      wallMs += byMs;
    },
  };
}
