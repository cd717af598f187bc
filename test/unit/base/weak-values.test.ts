import assert from "node:assert/strict";
import { WeakValues } from "../../../base/weak-values.ts";
import { collectGarbage } from "../../support/garbage.ts";

describe("WeakValues", () => {
  it("holds what others hold, and forgets the rest with its key", async () => {
    const values = new WeakValues<{ readonly at: number }>();
    const held = { at: 0 };
    values.set("held", held);
    for (let at = 1; at <= 100; at += 1) values.set(`lost ${at}`, { at });
    values.set("again", { at: 1 });
    const again = { at: 2 };
    values.set("again", again);
    assert.equal(values.get("none"), undefined);
    await collectGarbage();
    assert.equal(values.get("lost 1"), undefined);
    assert.equal(values.get("held"), held);
    assert.equal(values.get("again"), again);
    assert.equal(values.size, 2);
  });
});
