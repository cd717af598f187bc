/** How long streams are served in a row before everything else has its turn. */
export const TURN_MS = 10;

/** Where work waits for its turn. */
export type Turns = (work: () => void) => void;

/**
 * Runs what was asked for at the end of this turn of the event loop, in order,
 * and in a later one what there is no time for: a change that concerns
 * thousands of streams must not keep everybody else waiting until all were served.
 *
 * @param nowMs a clock that is never set; the process's own unless given
 */
export function createTurns(nowMs: () => number = () => performance.now()): Turns {
  let waiting: (() => void)[] = [];
  let isAsked = false;

  const run = (): void => {
    const untilMs = nowMs() + TURN_MS;
    const works = waiting;
    waiting = [];
    let at = 0;
    for (const work of works) {
      at += 1;
      work();
      if (nowMs() >= untilMs) break;
    }
    waiting = [...works.slice(at), ...waiting];
    isAsked = waiting.length > 0;
    if (isAsked) setImmediate(run);
  };
  return (work) => {
    waiting.push(work);
    if (isAsked) return;
    isAsked = true;
    queueMicrotask(run);
  };
}
