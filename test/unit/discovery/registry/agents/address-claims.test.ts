import assert from "node:assert/strict";
import { SourceCollection } from "../../../../../base/collection.ts";
import { type AgentsRegistry, createAgentsRegistry, LIVENESS_DEFAULTS } from "../../../../../discovery/registry/agents/registry.ts";
import type { WorkloadTemplate } from "../../../../../discovery/registry/registry.ts";
import { createMemoryStore } from "../../../../../store/memory.ts";
import { hostReport, workloadReport } from "../../../../support/host-report.ts";
import { createManualClock } from "../../../../support/manual-clock.ts";

const { graceMs, returnMs, forgetMs } = LIVENESS_DEFAULTS;
const GROUP = { namespace: "shop", name: "web", labels: { app: "web" }, ports: {}, serviceAccount: "web", locality: "", weight: 1 } as const;

describe("addresses of hosts", () => {
  const clock = createManualClock();
  const templates = new SourceCollection<WorkloadTemplate>();
  let store = createMemoryStore();
  let agents: AgentsRegistry;

  async function startAgents(): Promise<AgentsRegistry> {
    const grants = { allowsGroup: () => true, allowsAddress: () => true };
    const started = createAgentsRegistry({ templates, store, clock, liveness: LIVENESS_DEFAULTS, grants });
    await started.load();
    started.start();
    started.ready();
    return started;
  }

  beforeEach(async () => {
    store = createMemoryStore();
    templates.replaceAll(new Map([["shop/web", { ...GROUP, network: "" }], ["shop/far", { ...GROUP, name: "far", network: "far" }]]));
    agents = await startAgents();
  });
  afterEach(() => agents.close());

  const report = (hostId: string, address: string, changes: Parameters<typeof workloadReport>[0] = {}): string[] =>
    agents.report(hostId, hostReport([workloadReport({ addresses: [address], ...changes })])).map(({ reason }) => reason);
  const at = (address: string): string[] =>
    [...agents.workloads.entries().values()].filter(({ addresses }) => addresses.includes(address)).map(({ hostId, health }) => `${hostId} ${health}`);

  for (const [victim, attacker] of [["host-a", "host-z"], ["host-z", "host-a"]] as const) {
    it(`are the first's, whichever name sorts first (${attacker} claims that of ${victim})`, () => {
      agents.connected(victim);
      report(victim, "10.0.0.1");
      agents.connected(attacker);
      assert.deepEqual(report(attacker, "10.0.0.1", { health: "unhealthy" }), [`the address 10.0.0.1 is that of host ${victim}`]);
      assert.deepEqual(at("10.0.0.1"), [`${victim} healthy`]);
    });
  }

  it("are one place however they are written", () => {
    agents.connected("host-z");
    report("host-z", "fd00::1");
    report("host-y", "10.0.0.1");
    agents.connected("host-a");
    assert.deepEqual(report("host-a", "FD00:0:0::1"), ["the address fd00::1 is that of host host-z"]);
    assert.deepEqual(report("host-a", "::ffff:a00:1"), ["the address 10.0.0.1 is that of host host-y"]);
    assert.deepEqual(report("host-a", "10.0.0.9", { addresses: ["FD00::2", "10.0.0.9", "fd00:0::2", "::ffff:10.0.0.9"] }), []);
    assert.deepEqual(agents.workloads.get("hosts/host-a/web")?.addresses, ["fd00::2", "10.0.0.9"]);
  });

  it("are apart in each network", () => {
    report("host-a", "10.0.0.1");
    assert.deepEqual(report("host-b", "10.0.0.1", { group: "shop/far" }), []);
  });

  it("are another's as soon as the first has another one, leaves, or is gone", () => {
    const lost = agents.connected("host-a");
    report("host-a", "10.0.0.1");
    agents.connected("host-b");
    report("host-b", "10.0.0.1");
    report("host-a", "10.0.0.2");
    assert.deepEqual(at("10.0.0.1"), ["host-b healthy"]);
    assert.equal(report("host-a", "10.0.0.1").length, 1);
    agents.remove("host-b");
    assert.deepEqual(at("10.0.0.1"), ["host-a healthy"]);
    // Rebuilt under a new id, with the address that it had.
    agents.connected("host-c");
    assert.equal(report("host-c", "10.0.0.1").length, 1);
    lost();
    clock.advance(graceMs);
    assert.deepEqual(at("10.0.0.1"), ["host-c healthy"]);
    // The one that was gone comes back too late.
    agents.connected("host-a");
    assert.equal(report("host-a", "10.0.0.1").length, 1);
    clock.advance(forgetMs);
    assert.deepEqual(at("10.0.0.1"), ["host-c healthy"]);
  });

  it("are still the same hosts' after a restart, whoever reports first", async () => {
    agents.connected("host-z");
    report("host-z", "10.0.0.1");
    report("host-a", "10.0.0.1");
    await agents.close();
    agents = await startAgents();
    assert.deepEqual(at("10.0.0.1"), ["host-z healthy"]);
    clock.advance(graceMs);
    assert.equal(report("host-a", "10.0.0.1").length, 1);
    assert.deepEqual(at("10.0.0.1"), ["host-z healthy"]);
    // The time of the silent one is over, not that of the one that is heard of.
    clock.advance(returnMs - graceMs);
    assert.deepEqual(at("10.0.0.1"), ["host-a healthy"]);
    agents.connected("host-a");
    assert.deepEqual(at("10.0.0.1"), ["host-a healthy"]);
  });
});
