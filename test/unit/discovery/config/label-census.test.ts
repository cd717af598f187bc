import assert from "node:assert/strict";
import fc from "fast-check";
import type { Change } from "../../../../base/collection.ts";
import { LabelCensus } from "../../../../discovery/config/label-census.ts";
import { selects } from "../../../../model/workload.ts";

const namespace = fc.constantFrom("shop", "ops");
const labels = fc.dictionary(fc.constantFrom("app", "version"), fc.constantFrom("a", "b"), { maxKeys: 2, noNullPrototype: true });
const workload = fc.option(fc.record({ namespace, labels }), { nil: undefined });
const SELECTORS = [{ app: "a" }, { app: "b" }, { version: "a" }, { app: "a", version: "b" }];

describe("LabelCensus", () => {
  it("answers as a look at all workloads would, and says so whenever an answer changes (property)", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.constantFrom("1", "2", "3"), workload), { maxLength: 20 }), (steps) => {
        const census = new LabelCensus();
        const present = new Map<string, NonNullable<(typeof steps)[number][1]>>();
        const answers = (): boolean[] => SELECTORS.flatMap((selector) => ["shop", "ops"].map((wanted) => census.has(selector, (one) => one === wanted)));
        for (const [key, after] of steps) {
          const before = present.get(key);
          if (after === undefined) present.delete(key);
          else present.set(key, after);
          const old = answers();
          const change: Change<typeof after & object> = { key, ...(before === undefined ? {} : { before }), ...(after === undefined ? {} : { after }) };
          const hasChanged = census.apply([change]);
          const all = [...present.values()];
          assert.deepEqual(answers(), SELECTORS.flatMap((selector) => ["shop", "ops"].map((wanted) => all.some((one) => one.namespace === wanted && selects(selector, one.labels)))));
          if (!hasChanged) assert.deepEqual(answers(), old);
        }
      }),
    );
  });

  it("is not changed by another one of a kind, whatever else is different about it", () => {
    const census = new LabelCensus();
    const web = { namespace: "shop", labels: { app: "web", version: "v1" } };
    assert.equal(census.apply([{ key: "1", after: web }]), true);
    assert.equal(census.apply([{ key: "2", after: { namespace: "shop", labels: { version: "v1", app: "web" } } }]), false);
    assert.equal(census.apply([{ key: "1", before: web, after: { ...web } }]), false);
    assert.equal(census.apply([{ key: "1", before: web }]), false);
    assert.equal(census.apply([{ key: "2", before: web }]), true);
  });
});
