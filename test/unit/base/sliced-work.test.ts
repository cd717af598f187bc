import assert from "node:assert/strict";
import type { Clock } from "../../../base/clock.ts";
import { createSlicedWork, SLICE_MS, type SlicedWork } from "../../../base/sliced-work.ts";
import { createManualClock, type ManualClock } from "../../support/manual-clock.ts";

describe("sliced work", () => {
  let clock: ManualClock;
  let steps: number;
  let stepMs: number;
  let finished: number;
  let work: SlicedWork;
  /** Runs continuations one at a time; the manual clock would run all that are due. */
  let next: (() => void) | undefined;

  beforeEach(() => {
    clock = createManualClock();
    [steps, stepMs, finished, next] = [10, SLICE_MS / 2, 0, undefined];
    const sliced: Clock = {
      ...clock,
      after(_delayMs, callback) {
        next = callback;
        return () => (next = undefined);
      },
    };
    work = createSlicedWork(
      sliced,
      function* () {
        while (steps > 0) {
          steps -= 1;
          clock.advance(stepMs);
          yield;
        }
      },
      () => (finished += 1),
    );
  });

  it("is done at once where it is short", () => {
    stepMs = 0;
    work.run();
    assert.deepEqual([steps, finished, next, work.isRunning()], [0, 1, undefined, false]);
    steps = 3;
    work.run();
    assert.deepEqual([steps, finished], [0, 2]);
  });

  it("pauses after each slice, and ends once", () => {
    work.run();
    assert.deepEqual([steps, finished, work.isRunning()], [8, 0, true]);
    for (const left of [6, 4, 2, 0]) {
      next?.();
      assert.deepEqual([steps, finished], [left, 0]);
    }
    next?.();
    assert.deepEqual([steps, finished, work.isRunning()], [0, 1, false]);
  });

  it("is done without a pause where somebody needs it now", () => {
    work.run();
    work.finish();
    assert.deepEqual([steps, finished, next, work.isRunning()], [0, 1, undefined, false]);
  });

  it("ends also where new steps come faster than slices", () => {
    steps = 20_000;
    work.run();
    let pauses = 0;
    for (; next !== undefined; pauses += 1) {
      const goOn = next;
      next = undefined;
      goOn();
    }
    assert.deepEqual([steps, finished], [0, 1]);
    assert.ok(pauses < 5_000, `${pauses} pauses`);
  });

  it("does nothing more once it is closed", () => {
    work.run();
    work.close();
    assert.deepEqual([next, finished], [undefined, 0]);
  });
});
