import assert from "node:assert/strict";
import { RESERVED, Schedule } from "../../../../../discovery/registry/consul/schedule.ts";
import type { Place, Turn } from "../../../../../discovery/registry/consul/schedule.ts";
import { createManualClock } from "../../../../support/manual-clock.ts";

const PACING = { waitMs: 1_000, maxWaitMs: 4_000, maxQuick: 3, sweepPerSecond: 100, slowPassMs: 60_000 };

describe("schedule of questions", () => {
  const forever = new AbortController().signal;

  function world(room: number, count: number) {
    const clock = createManualClock();
    let capacity = room + RESERVED;
    const schedule = new Schedule(() => capacity, clock, PACING);
    const places = Array.from({ length: count }, () => schedule.join());
    /** Asked for and granted, in the order of being granted. */
    const granted: { readonly at: number; readonly turn: Turn }[] = [];
    const ask = (at: number, isFirst = false): void => {
      void schedule.turn(places[at] as Place, isFirst, forever).then((turn) => granted.push({ at, turn }));
    };
    return { clock, schedule, places, granted, ask, shrink: (to: number) => (capacity = to + RESERVED) };
  }

  /** Lets every place ask its first question. */
  async function firstRound({ granted, ask, places }: ReturnType<typeof world>): Promise<void> {
    for (const at of places.keys()) ask(at, true);
    while (granted.length < places.length) {
      await turns();
      for (const { turn } of granted) turn.release();
    }
    granted.length = 0;
  }

  it("lets everything wait at Consul while there is room", async () => {
    const { granted, ask, schedule } = world(10, 10);
    for (let at = 0; at < 10; at += 1) ask(at);
    await turns();
    assert.deepEqual(granted.map(({ turn }) => turn.waitMs), Array.from({ length: 10 }, () => 1_000));
    assert.equal(schedule.isCrowded, false);
  });

  it("lets thousands wait longer, up to a limit", async () => {
    const some = world(1_000, 100);
    some.ask(0);
    const many = world(1_000, 500);
    many.ask(0);
    await turns();
    assert.deepEqual([some.granted[0]?.turn.waitMs, many.granted[0]?.turn.waitMs], [3_000, 4_000]);
  });

  it("asks a few first questions at a time", async () => {
    const { granted, ask } = world(10, 10);
    for (let at = 0; at < 10; at += 1) ask(at, true);
    await turns();
    assert.deepEqual(granted.map(({ at, turn }) => [at, turn.waitMs]), [[0, 0], [1, 0], [2, 0]]);
    granted[1]?.turn.release();
    granted[1]?.turn.release();
    await turns();
    assert.equal(granted.length, 4);
  });

  it("asks nothing where there is no room and nothing points anywhere, and what is pointed at at once", async () => {
    const crowd = world(10, 20);
    await firstRound(crowd);
    const { granted, ask, schedule, places, clock } = crowd;
    assert.equal(schedule.isCrowded, true);
    for (const at of places.keys()) ask(at);
    clock.advance(10_000);
    await turns();
    assert.equal(granted.length, 0);
    schedule.hurry(places[13] as Place);
    await turns();
    assert.deepEqual(granted.map(({ at, turn }) => [at, turn.waitMs]), [[13, 0]]);
  });

  it("asks each once after something was registered, no faster than it may, and those that wait longest first", async () => {
    const crowd = world(10, 20);
    await firstRound(crowd);
    const { granted, ask, schedule, places, clock } = crowd;
    for (const at of places.keys()) ask(at);
    schedule.stir();
    let elapsedMs = 0;
    for (; granted.length < 20; elapsedMs += 50) {
      clock.advance(50);
      for (let step = 0; step < 5; step += 1) {
        await turns();
        for (const { turn } of granted) turn.release();
      }
      assert.ok(elapsedMs < 1_000);
    }
    assert.deepEqual(granted.map(({ at }) => at), [...places.keys()]);
    assert.ok(elapsedMs >= 100, `20 questions in ${elapsedMs} ms at 100 a second`);
    for (const at of places.keys()) ask(at);
    clock.advance(10_000);
    await turns();
    assert.equal(granted.length, 20, "and not a second time");
  });

  it("asks also who was busy when something was registered, and comes back when all others were asked", async () => {
    const crowd = world(10, 12);
    await firstRound(crowd);
    const { granted, ask, schedule, places, clock } = crowd;
    // Place 3 has its answer and rests: it asked too often.
    for (const at of places.keys()) if (at !== 3) ask(at);
    schedule.stir();
    for (let step = 0; granted.length < 11; step += 1) {
      assert.ok(step < 100);
      clock.advance(50);
      await turns();
      for (const { turn } of granted) turn.release();
    }
    for (const at of places.keys()) if (at !== 3) ask(at);
    ask(3);
    clock.advance(1_000);
    await turns();
    assert.deepEqual(granted.slice(11).map(({ at }) => at), [3]);
  });

  it("asks anew what nothing pointed at for long", async () => {
    const crowd = world(10, 12);
    await firstRound(crowd);
    const { granted, ask, clock } = crowd;
    ask(5);
    clock.advance(61_000);
    await turns();
    assert.deepEqual(granted.map(({ at }) => at), [5]);
  });

  it("is not stopped by a clock that was set back", async () => {
    const clock = createManualClock();
    const schedule = new Schedule(() => 1 + RESERVED, clock, PACING);
    const places = [schedule.join(), schedule.join()];
    clock.step(-3_600_000);
    schedule.stir();
    let isGranted = false;
    void schedule.turn(places[0] as Place, false, forever).then(() => (isGranted = true));
    clock.advance(1_000);
    await turns();
    assert.equal(isGranted, true);
  });

  it("takes back what waits when one more makes it too many, and when an agent takes less than was thought", async () => {
    const full = world(10, 10);
    full.ask(0);
    await turns();
    full.schedule.join();
    assert.equal(full.granted[0]?.turn.signal.aborted, true);
    const fooled = world(10, 10);
    fooled.ask(0);
    await turns();
    fooled.shrink(5);
    fooled.ask(1);
    await turns();
    assert.equal(fooled.granted[0]?.turn.signal.aborted, true);
  });

  it("has everything asked from the beginning when told to", async () => {
    const { schedule, granted, ask } = world(10, 10);
    ask(0);
    await turns();
    schedule.restart();
    assert.equal(granted[0]?.turn.signal.aborted, true);
    ask(0);
    await turns();
    assert.equal(granted[1]?.turn.signal.aborted, false);
  });

  it("becomes roomy again only with some room to spare", async () => {
    const { schedule, places } = world(10, 11);
    schedule.leave(places[0] as Place);
    assert.equal(schedule.isCrowded, true);
    schedule.leave(places[1] as Place);
    assert.equal(schedule.isCrowded, false);
  });

  it("gives no turn to what has ended", async () => {
    const { schedule, places } = world(10, 20);
    const ending = new AbortController();
    const waiting = schedule.turn(places[0] as Place, false, ending.signal);
    ending.abort();
    await assert.rejects(waiting);
    schedule.stir();
    schedule.close();
  });
});

/** What was promised happens. */
async function turns(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) await Promise.resolve();
}
