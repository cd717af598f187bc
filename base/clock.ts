/** The time, injected so that tests own it. */
export interface Clock {
  /** Milliseconds since the epoch, as the machine is told: it may be set, forward and back. For what people read, and what outlives the process. */
  now(): number;
  /** Milliseconds since some moment that is the same for the whole process; nobody sets it. For how long something takes, or is ago. */
  elapsed(): number;
  /** Calls back once after `delayMs`; the returned function cancels. */
  after(delayMs: number, callback: () => void): () => void;
}

/** Node takes a longer delay for 1 ms. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** The machine's own clock. Its timers never keep the process alive, and may be of any length. */
export const systemClock: Clock = {
  now: () => Date.now(),
  elapsed: () => performance.now(),
  after(delayMs, callback) {
    let timer: NodeJS.Timeout;
    const wait = (leftMs: number): void => {
      const stepMs = Math.min(leftMs, LONGEST_TIMER_MS);
      timer = setTimeout(leftMs > stepMs ? () => wait(leftMs - stepMs) : callback, stepMs);
      timer.unref();
    };
    wait(delayMs);
    return () => clearTimeout(timer);
  },
};
