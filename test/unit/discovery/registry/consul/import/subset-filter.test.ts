import assert from "node:assert/strict";
import { labelsOfFilter } from "../../../../../../discovery/registry/consul/import/subset-filter.ts";

describe("consul import: filters of subsets", () => {
  for (const [filter, labels] of [
    ["", {}],
    ['Service.Meta.version == "v2"', { version: "v2" }],
    ["Service.Meta.version==v2", { version: "v2" }],
    ['Service.Meta["team.name"] == `a`', { "team.name": "a" }],
    ['"v2" in Service.Tags', { "tag/v2": "true" }],
    ["Service.Tags contains blue", { "tag/blue": "true" }],
    ['"team=a" in Service.Tags and Service.Meta.x == 1', { team: "a", x: "1" }],
    ["  Service.Meta.a == b  AND Service.Meta.a == b ", { a: "b" }],
  ] as const) {
    it(`takes ${JSON.stringify(filter)}`, () => assert.deepEqual(labelsOfFilter(filter), { ok: true, value: labels }));
  }

  for (const [filter, why] of [
    ["Service.Meta.a == x or Service.Meta.a == y", /labels cannot say/],
    ["not Service.Meta.a == x", /labels cannot say/],
    ["(Service.Meta.a == x)", /labels cannot say/],
    ["Service.Meta.a != x", /labels cannot say/],
    ["Service.Meta.a matches `x.*`", /labels cannot say/],
    ["a in Service.Meta", /labels cannot say/],
    ["Node.Meta.zone == a", /labels cannot say/],
    ['"v2" not in Service.Tags', /labels cannot say/],
    ["Service.Meta.a == x and", /labels cannot say|ends with and/],
    ["Service.Meta.a == x and ", /labels cannot say|ends with and/],
    ['Service.Meta.a == ""', /empty value/],
    ['Service.Meta.a == "x y"', /not a label's value/],
    ['"a b" in Service.Tags', /not a label's name/],
    ["Service.Meta.a == x and Service.Meta.a == y", /two values of a/],
    [`Service.Meta.a == ${"x".repeat(100_000)}`, /not a label's value/],
  ] as const) {
    it(`cannot say ${JSON.stringify(filter.slice(0, 60))}`, () => {
      const read = labelsOfFilter(filter);
      assert.ok(!read.ok);
      assert.match(read.error, why);
    });
  }
});
