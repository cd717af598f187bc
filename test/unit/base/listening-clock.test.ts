import assert from "node:assert/strict";
import { createListeningClock, type ListeningClock } from "../../../base/listening-clock.ts";
import { createManualClock, type ManualClock } from "../../support/manual-clock.ts";

describe("a clock that stands while nobody listens", () => {
  let clock: ManualClock;
  let listening: ListeningClock;
  let heard: string[];
  beforeEach(() => {
    clock = createManualClock();
    listening = createListeningClock(clock);
    heard = [];
  });
  afterEach(() => listening.close());
  const hear = (what: string) => (): void => void heard.push(what);

  it("goes with the other one while its timers come in time, or little late", () => {
    listening.after(1_000, hear("one"));
    listening.after(999, hear("two"));
    for (let turn = 0; turn < 9; turn += 1) {
      clock.stall(60);
      clock.advance(50);
    }
    assert.deepEqual([heard, listening.elapsed()], [[], 990]);
    clock.advance(9);
    assert.deepEqual(heard, ["two"]);
    clock.advance(1);
    assert.deepEqual(heard, ["two", "one"]);
    assert.equal(listening.now(), clock.now());
  });

  it("takes a long silence of the process for almost nothing", () => {
    listening.after(5_000, hear("late"));
    clock.advance(1_000);
    clock.stall(600_000);
    assert.ok(listening.elapsed() < 1_500, "before anybody has looked");
    clock.advance(3_000);
    assert.deepEqual(heard, []);
    clock.advance(1_000);
    assert.deepEqual(heard, ["late"]);
  });

  it("never goes back", () => {
    let before = listening.elapsed();
    for (const [stallMs, advanceMs] of [[10, 0], [400, 0], [0, 100], [3_000, 250], [90, 0], [0, 249], [300, 1]] as const) {
      clock.stall(stallMs);
      assert.ok(listening.elapsed() >= before);
      clock.advance(advanceMs);
      assert.ok(listening.elapsed() >= before);
      before = listening.elapsed();
    }
  });

  it("calls nobody back who has cancelled, also after a wait that was too short, and nobody when it is closed", async () => {
    const cancel = listening.after(1_000, hear("cancelled"));
    listening.after(60_000, hear("closed"));
    clock.stall(1_500);
    clock.advance(0);
    cancel();
    clock.advance(10_000);
    await listening.close();
    clock.advance(100_000);
    assert.deepEqual(heard, []);
  });
});
