import assert from "node:assert/strict";
import { chooseNames } from "../../../../../discovery/registry/consul/names.ts";

describe("names of consul", () => {
  it("are asked for once, in whatever case they are written", () => {
    const { asked, skipped } = chooseNames(["web", "Web", "db", "a.b", "sl/ash"], new Map());
    assert.deepEqual([...asked], [["web", "Web"], ["db", "db"]]);
    assert.deepEqual(skipped, ["a.b", "sl/ash"]);
  });

  it("stay the ones that were asked for as long as there is any of the service", () => {
    const before = new Map([["web", "web"], ["gone", "gone"]]);
    assert.deepEqual([...chooseNames(["WEB", "web"], before).asked], [["web", "web"]]);
    assert.deepEqual([...chooseNames(["WEB"], before).asked], [["web", "web"]]);
    assert.deepEqual([...chooseNames([], before).asked], []);
  });
});
