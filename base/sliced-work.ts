import type { Clock } from "./clock.ts";

/** How long work goes on before others have their turn: health checks, streams, the API. */
export const SLICE_MS = 10;
/** A build that changes overtake again and again is done without a pause then: some 20 s of work. */
const MAX_SLICES = 2_000;

/** Work of many steps whose result is taken at once, when all of it is done. */
export interface SlicedWork {
  /** Begins, or goes on, and pauses after each slice. */
  run(): void;
  /** Begins, or goes on, and does all that is left now. */
  finish(): void;
  isRunning(): boolean;
  close(): void;
}

/**
 * @param steps begins the work; each step takes a moment
 * @param finished called when the last step was done, in the same turn
 * @param paused called before each pause
 */
export function createSlicedWork(clock: Clock, steps: () => Generator<void, void>, finished: () => void, paused: () => void = () => {}): SlicedWork {
  let work: Generator<void, void> | undefined;
  let slices = 0;
  let cancelNext: (() => void) | undefined;

  const goOn = (pauses: boolean): void => {
    cancelNext?.();
    cancelNext = undefined;
    work ??= steps();
    const startedAtMs = clock.elapsed();
    while (work.next().done !== true) {
      if (!pauses || clock.elapsed() - startedAtMs < SLICE_MS || slices >= MAX_SLICES) continue;
      slices += 1;
      cancelNext = clock.after(0, () => goOn(true));
      paused();
      return;
    }
    work = undefined;
    slices = 0;
    finished();
  };
  return {
    run: () => goOn(true),
    finish: () => goOn(false),
    isRunning: () => work !== undefined,
    close() {
      cancelNext?.();
      work = undefined;
    },
  };
}
