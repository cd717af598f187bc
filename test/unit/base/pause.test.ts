import assert from "node:assert/strict";
import { pause } from "../../../base/pause.ts";
import { createManualClock } from "../../support/manual-clock.ts";

describe("pause", () => {
  const isOver = async (pausing: Promise<void>): Promise<boolean> => Promise.race([pausing.then(() => true), new Promise<false>((resolve) => void setImmediate(resolve, false))]);

  it("ends with its time", async () => {
    const clock = createManualClock();
    const pausing = pause(clock, 100, new AbortController().signal);
    clock.advance(99);
    assert.equal(await isOver(pausing), false);
    clock.advance(1);
    assert.equal(await isOver(pausing), true);
  });

  it("ends with its signal, also one that was aborted before", async () => {
    const controller = new AbortController();
    const pausing = pause(createManualClock(), 100, controller.signal);
    assert.equal(await isOver(pausing), false);
    controller.abort();
    assert.equal(await isOver(pausing), true);
    assert.equal(await isOver(pause(createManualClock(), 100, controller.signal)), true);
  });
});
