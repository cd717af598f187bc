import type { Clock } from "./clock.ts";
import type { Closable } from "./task-group.ts";

/**
 * A clock for judging others by their silence: its time passes only while this
 * process listens. What was said while the process was stopped, or busy with
 * something else, has not been read when it goes on: that time is nobody's
 * silence. `elapsed` and `after` are by it; `now` is the machine's.
 */
export interface ListeningClock extends Clock, Closable {
  /** Nothing is called back any more. */
  close(): Promise<void>;
}

const LOOK_EVERY_MS = 250;
/** A look that comes so much later was still one of a process that listens: everything has had its turn since the one before. */
const LATE_MS = 100;

/** Looks at the time until it is closed. @param clock whose timers come late where the process does */
export function createListeningClock(clock: Clock): ListeningClock {
  let listenedMs = 0;
  let lookedAtMs = clock.elapsed();
  let isClosed = false;

  const elapsed = (): number => listenedMs + Math.min(clock.elapsed() - lookedAtMs, LOOK_EVERY_MS + LATE_MS);
  const look = (): void => {
    listenedMs = elapsed();
    lookedAtMs = clock.elapsed();
    cancelLook = clock.after(LOOK_EVERY_MS, look);
  };
  let cancelLook = clock.after(LOOK_EVERY_MS, look);
  return {
    now: () => clock.now(),
    elapsed,
    after(delayMs, callback) {
      const dueMs = elapsed() + delayMs;
      let cancel: () => void;
      const wait = (): void => {
        cancel = clock.after(Math.max(0, Math.ceil(dueMs - elapsed())), () => {
          if (isClosed) return;
          if (elapsed() < dueMs) wait();
          else callback();
        });
      };
      wait();
      return () => cancel();
    },
    async close() {
      isClosed = true;
      cancelLook();
    },
  };
}
