import assert from "node:assert/strict";
import { parseDocuments } from "../../../../api/document.ts";
import { type GoodResource, mergeConfig } from "../../../../discovery/config/merge.ts";
import type { ConfigOrigin, ConfigUnit } from "../../../../discovery/config/unit.ts";

const KEY = "WorkloadEntry/default/a";

function entry(name: string, address: string): string {
  return `apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: ${name}}\nspec: {address: ${address}}\n`;
}

function unit(name: string, text: string, origin: ConfigOrigin = "files"): ConfigUnit {
  return { origin, name, documents: parseDocuments(text, name, origin).documents };
}

function addresses(inForce: ReadonlyMap<string, GoodResource>): unknown {
  return Object.fromEntries([...inForce].map(([key, { resource }]) => [key, resource.kind === "WorkloadEntry" ? resource.spec.address : ""]));
}

describe("merging configuration", () => {
  const before = mergeConfig([unit("a.yaml", entry("a", "192.0.2.1"))], new Map(), 1_000);

  it("puts what is acceptable in force", () => {
    assert.deepEqual(addresses(before.inForce), { [KEY]: "192.0.2.1" });
    const status = before.statuses.get(KEY);
    assert.deepEqual([status?.state, status?.inForceSinceMs, status?.issues], ["accepted", 1_000, []]);
  });

  it("keeps the last good value of a rejected resource, and says since when", () => {
    const { inForce, statuses } = mergeConfig([unit("a.yaml", entry("a", "nowhere.."))], before.inForce, 2_000);
    assert.deepEqual(addresses(inForce), { [KEY]: "192.0.2.1" });
    const status = statuses.get(KEY);
    assert.deepEqual([status?.state, status?.inForceSinceMs, status?.issues.map(({ code }) => code)], ["rejected", 1_000, ["IM0125"]]);
  });

  it("shows a rejected resource that never was good as not in force", () => {
    const { inForce, statuses } = mergeConfig([unit("a.yaml", entry("a", "nowhere.."))], new Map(), 2_000);
    assert.equal(inForce.size, 0);
    assert.equal(statuses.get(KEY)?.inForceSinceMs, null);
  });

  it("keeps everything of a file that is no YAML any more", () => {
    const { inForce, statuses } = mergeConfig([unit("a.yaml", "kind: [")], before.inForce, 2_000);
    assert.deepEqual(addresses(inForce), { [KEY]: "192.0.2.1" });
    assert.deepEqual([...statuses.values()].map(({ name, state }) => `${name} ${state}`).sort(), [" rejected", "a rejected"]);
  });

  it("keeps everything of a file that cannot be read", () => {
    const problem = { code: "IM0203", severity: "error", message: "no", path: "" } as const;
    const { inForce } = mergeConfig([{ origin: "files", name: "a.yaml", documents: [], problem }], before.inForce, 2_000);
    assert.deepEqual(addresses(inForce), { [KEY]: "192.0.2.1" });
  });

  it("removes what nobody mentions any more, also where another file is broken", () => {
    assert.equal(mergeConfig([], before.inForce, 2_000).inForce.size, 0);
    assert.equal(mergeConfig([unit("a.yaml", entry("b", "192.0.2.2")), unit("b.yaml", "kind: [")], before.inForce, 2_000).inForce.has(KEY), false);
  });

  it("a skipped Deployment beside it keeps nothing alive", () => {
    const deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n";
    assert.equal(mergeConfig([unit("a.yaml", deployment)], before.inForce, 2_000).inForce.size, 0);
  });

  it("prefers a file to the store, and the first file by name, whatever the order in which they are read", () => {
    const units = [unit("a", entry("a", "192.0.2.9"), "store"), unit("b.yaml", entry("a", "192.0.2.2")), unit("a.yaml", entry("a", "192.0.2.1"))];
    for (const order of [units, units.toReversed()]) {
      const { inForce, statuses } = mergeConfig(order, new Map(), 1_000);
      assert.deepEqual(addresses(inForce), { [KEY]: "192.0.2.1" });
      const status = statuses.get(KEY);
      assert.equal(status?.state, "conflict");
      assert.deepEqual(status?.issues.map(({ code, position }) => [code, position?.file]), [["IM0202", "b.yaml"], ["IM0201", "a"]]);
    }
  });

  it("does not let a second definition in where the first is rejected", () => {
    const units = [unit("a.yaml", entry("a", "nowhere..")), unit("b.yaml", entry("a", "192.0.2.2"))];
    assert.equal(mergeConfig(units, new Map(), 1_000).inForce.size, 0);
    assert.deepEqual(addresses(mergeConfig(units, before.inForce, 1_000).inForce), { [KEY]: "192.0.2.1" });
  });

  it("counts the time in force from the content, not from the line it stands in", () => {
    const moved = mergeConfig([unit("z.yaml", `# moved\n\n${entry("a", "192.0.2.1")}`)], before.inForce, 2_000);
    assert.equal(moved.inForce.get(KEY)?.acceptedAtMs, 1_000);
    assert.equal(moved.inForce.get(KEY)?.unit, "files:z.yaml");
    const changed = mergeConfig([unit("a.yaml", entry("a", "192.0.2.2"))], before.inForce, 3_000);
    assert.equal(changed.inForce.get(KEY)?.acceptedAtMs, 3_000);
  });
});
