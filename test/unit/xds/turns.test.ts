import assert from "node:assert/strict";
import { setImmediate as nextTurn } from "node:timers/promises";
import { createTurns, TURN_MS, type Turns } from "../../../xds/turns.ts";

describe("turns", () => {
  let nowMs: number;
  let turns: Turns;
  let done: string[];

  beforeEach(() => {
    [nowMs, done] = [0, []];
    turns = createTurns(() => nowMs);
  });
  const work = (name: string, tookMs: number): (() => void) => () => {
    done.push(name);
    nowMs += tookMs;
  };

  it("run what is short at the end of this one, in order", async () => {
    for (const name of ["a", "b", "c"]) turns(work(name, 1));
    assert.deepEqual(done, []);
    await Promise.resolve();
    assert.deepEqual(done, ["a", "b", "c"]);
  });

  it("let others go first after a while, and forget nothing", async () => {
    for (const name of ["a", "b", "c", "d"]) turns(work(name, TURN_MS / 2));
    await Promise.resolve();
    assert.deepEqual(done, ["a", "b"]);
    turns(work("e", 0));
    await Promise.resolve();
    assert.deepEqual(done, ["a", "b"], "not before those that wait");
    await nextTurn();
    await nextTurn();
    assert.deepEqual(done, ["a", "b", "c", "d", "e"]);
    turns(work("f", 0));
    await Promise.resolve();
    assert.equal(done.at(-1), "f");
  });

  it("run also what is asked for by what runs", async () => {
    turns(() => turns(work("inner", 0)));
    await Promise.resolve();
    await nextTurn();
    assert.deepEqual(done, ["inner"]);
  });
});
