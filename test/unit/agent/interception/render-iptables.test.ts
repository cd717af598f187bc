import assert from "node:assert/strict";
import type { CaptureSpec } from "../../../../agent/interception/capture-spec.ts";
import { parseIptablesSave } from "../../../../agent/interception/iptables-ruleset.ts";
import { EMPTY_PLAN, planCapture } from "../../../../agent/interception/plan.ts";
import { expectedIptables, renderIptables } from "../../../../agent/interception/render-iptables.ts";
import { renderNft } from "../../../../agent/interception/render-nft.ts";

const SPEC: CaptureSpec = {
  proxyUid: 900,
  inboundListenerPort: 15_006,
  outbound: [{ workload: "one", match: { uids: [1001] }, outboundPort: 15_101 }],
  inbound: [{ workload: "one", port: 8080, failClosed: true }],
  outboundScope: "all",
  exclusions: { ports: [], cidrs: [] },
  vips: { v4: [], v6: [] },
  managementPorts: [],
};
const planned = planCapture(SPEC);
assert.ok(planned.ok);
const PLAN = planned.value;
const ACTIVE = { capture: "active", guard: "active" } as const;
const GONE = { capture: "absent", guard: "absent" } as const;

const linesOf = (text: string, start: string): string[] => text.split("\n").filter((line) => line.startsWith(start));

describe("iptables rules", () => {
  it("take out every jump that is there, also a doubled one, in the transaction that puts the new one in", () => {
    const present = parseIptablesSave(["*nat", ":OUTPUT ACCEPT [0:0]", ":IRONMESH_OUTPUT - [0:0]", "-A OUTPUT -j IRONMESH_OUTPUT", "-A OUTPUT -p tcp -j DOCKER", "[3:9] -A OUTPUT -j IRONMESH_OUTPUT", "COMMIT"].join("\n"));
    const text = renderIptables(PLAN, 4, present, ACTIVE);
    const nat = text.slice(text.indexOf("*nat"));
    assert.deepEqual(linesOf(nat, "-D"), ["-D OUTPUT -j IRONMESH_OUTPUT", "-D OUTPUT -j IRONMESH_OUTPUT"]);
    assert.deepEqual(linesOf(nat, "-I OUTPUT"), ["-I OUTPUT 1 -j IRONMESH_OUTPUT"]);
    assert.equal(linesOf(nat, "COMMIT").length, 1);
    assert.deepEqual(linesOf(renderIptables(PLAN, 4, { tables: {} }, ACTIVE), "-D"), []);
  });

  it("remove all that they added, and nothing where nothing is", () => {
    const applied = expectedIptables({ plan: PLAN, ...ACTIVE }, 6);
    const text = renderIptables(PLAN, 6, applied, GONE);
    const added = linesOf(renderIptables(PLAN, 6, { tables: {} }, ACTIVE), ":").map((line) => line.slice(1).split(" ")[0]);
    assert.deepEqual(new Set(linesOf(text, "-X").map((line) => line.slice(3))), new Set(added));
    assert.deepEqual(linesOf(text, "-A"), []);
    assert.deepEqual(linesOf(text, "-I"), []);
    assert.equal(renderIptables(EMPTY_PLAN, 6, { tables: {} }, GONE), "");
  });

  it("keep connection tracking in use while captured connections end, and the guard where it is wanted", () => {
    const text = renderIptables(PLAN, 4, expectedIptables({ plan: PLAN, ...ACTIVE }, 4), { capture: "drained", guard: "active" });
    assert.match(text, /-A IRONMESH_OUTPUT -m conntrack --ctstate ESTABLISHED/);
    assert.doesNotMatch(text, /REDIRECT/);
    assert.match(text, /-A IRONMESH_GUARD_INPUT .* REJECT/);
  });
});

describe("nft rules", () => {
  it("replace each table in the one transaction, and touch no other", () => {
    const text = renderNft(PLAN, ACTIVE);
    assert.deepEqual(linesOf(text, "delete"), ["delete table inet ironmesh", "delete table inet ironmesh_guard"]);
    assert.doesNotMatch(text, /flush/);
    assert.ok([...text.matchAll(/^table (\S+ \S+)/gm)].every(([, table]) => table === "inet ironmesh" || table === "inet ironmesh_guard"));
  });

  it("hook in before others rewrite destinations", () => {
    assert.deepEqual([...renderNft(PLAN, ACTIVE).matchAll(/type nat hook \w+ priority (\S+);/g)].map(([, priority]) => priority), ["-105", "-105"]);
  });

  it("keep address rewriting in use while captured connections end", () => {
    const text = renderNft(PLAN, { capture: "drained", guard: "absent" });
    assert.equal([...text.matchAll(/type nat hook/g)].length, 2);
    assert.equal([...text.matchAll(/ct state established/g)].length, 2);
    assert.doesNotMatch(text, /redirect/);
  });
});
