import assert from "node:assert/strict";
import { systemClock } from "../../../base/clock.ts";

describe("the system's clock", () => {
  it("waits longer than Node's own timers can", async () => {
    let calls = 0;
    const cancel = systemClock.after(2 ** 31, () => (calls += 1));
    // Node would have called back after 1 ms.
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.equal(calls, 0);
    cancel();
  });

  it("calls back once, and not at all when it is cancelled", async () => {
    const calls: string[] = [];
    systemClock.after(1, () => calls.push("short"));
    const cancel = systemClock.after(1, () => calls.push("cancelled"));
    cancel();
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.deepEqual(calls, ["short"]);
  });
});
