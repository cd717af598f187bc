import assert from "node:assert/strict";
import { Http2Choice } from "../../../../../discovery/registry/consul/http2-choice.ts";

describe("choice of HTTP/2", () => {
  let nowMs: number;
  let changes: boolean[];
  let choice: Http2Choice;

  beforeEach(() => {
    nowMs = 0;
    changes = [];
    choice = new Http2Choice(1_000, (isSpoken) => changes.push(isSpoken), () => nowMs);
  });

  it("is HTTP/2 until it is refused, and then one request in a while, as long as it stays refused", () => {
    assert.deepEqual([choice.next(), choice.next(), choice.isSpoken], [true, true, true]);
    choice.refused();
    assert.deepEqual([choice.next(), choice.isSpoken], [false, false]);
    nowMs = 1_000;
    assert.deepEqual([choice.next(), choice.next(), choice.isSpoken], [true, false, false], "nobody else follows before it is known");
    nowMs = 1_100;
    choice.refused();
    nowMs = 2_099;
    assert.equal(choice.next(), false);
    nowMs = 2_100;
    assert.equal(choice.next(), true);
    assert.deepEqual(changes, [false]);
  });

  it("is HTTP/2 for all once the one that tried has it", () => {
    choice.refused();
    nowMs = 1_000;
    assert.equal(choice.next(), true);
    choice.agreed();
    choice.agreed();
    assert.deepEqual([choice.next(), choice.isSpoken], [true, true]);
    assert.deepEqual(changes, [false, true]);
  });

  it("is tried again also where nobody heard of the one that tried", () => {
    choice.refused();
    nowMs = 1_000;
    assert.deepEqual([choice.next(), choice.next()], [true, false]);
    nowMs = 2_000;
    assert.equal(choice.next(), true);
  });
});
