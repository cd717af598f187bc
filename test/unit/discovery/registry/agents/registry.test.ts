import assert from "node:assert/strict";
import { SourceCollection } from "../../../../../base/collection.ts";
import { createAgentsRegistry, LIVENESS_DEFAULTS } from "../../../../../discovery/registry/agents/registry.ts";
import type { AgentsRegistry } from "../../../../../discovery/registry/agents/registry.ts";
import type { WorkloadTemplate } from "../../../../../discovery/registry/registry.ts";
import { createMemoryStore } from "../../../../../store/memory.ts";
import type { KeyValueStore } from "../../../../../store/key-value.ts";
import { hostReport, workloadReport } from "../../../../support/host-report.ts";
import { createManualClock } from "../../../../support/manual-clock.ts";
import type { ManualClock } from "../../../../support/manual-clock.ts";

const { graceMs, returnMs, forgetMs } = LIVENESS_DEFAULTS;
/** However others come and go. */
const longestMs = 10 * returnMs;

describe("agents registry", () => {
  let clock: ManualClock;
  let store: KeyValueStore;
  let templates: SourceCollection<WorkloadTemplate>;
  let granted: Set<string>;
  let agents: AgentsRegistry;

  async function startAgents(isReady = true): Promise<AgentsRegistry> {
    const started = createAgentsRegistry({
      templates,
      store,
      clock,
      liveness: LIVENESS_DEFAULTS,
      grants: {
        allowsGroup: (hostId, group) => granted.has(`${hostId} ${group}`),
        allowsAddress: (_hostId, address) => address.startsWith("10.0.") || address.startsWith("fd00:"),
      },
    });
    await started.load();
    started.start();
    if (isReady) started.ready();
    return started;
  }

  beforeEach(async () => {
    clock = createManualClock();
    store = createMemoryStore();
    granted = new Set(["h1 shop/web"]);
    templates = new SourceCollection();
    templates.apply([["shop/web", template({ labels: { app: "web" }, ports: { http: 8_080 } })]]);
    agents = await startAgents();
  });

  afterEach(() => agents.close());

  const health = (registry = agents): string | undefined => registry.workloads.get("hosts/h1/web")?.health;

  it("takes labels, identity and ports from the group, and the place from the host", () => {
    agents.connected("h1");
    assert.deepEqual(agents.report("h1", hostReport([workloadReport({ ports: { http: 9_090 }, addresses: ["10.0.0.1", "fd00::1"] })])), []);
    const workload = agents.workloads.get("hosts/h1/web");
    assert.deepEqual(workload, {
      key: "hosts/h1/web",
      namespace: "shop",
      name: "web.h1",
      hostId: "h1",
      group: "shop/web",
      addresses: ["10.0.0.1", "fd00::1"],
      ports: { http: 9_090 },
      labels: { app: "web" },
      serviceAccount: "web",
      locality: { region: "eu", zone: "eu-1", subZone: "" },
      network: "",
      weight: 1,
      health: "healthy",
      meshed: true,
      source: { registry: "hosts", object: "vm-1/web" },
    });
    assert.equal(agents.hosts.get("h1")?.workloads[0]?.outboundPort, 15_101);
  });

  it("takes nothing that the host was not granted, and says why", () => {
    const refused = agents.report("h1", hostReport([
      workloadReport({ name: "other-group", group: "shop/db" }),
      workloadReport({ name: "foreign", addresses: ["192.168.1.1"] }),
      workloadReport({ name: "named", addresses: ["db.example.com"] }),
      workloadReport({ name: "nowhere", addresses: [] }),
      workloadReport({ name: "loopback", addresses: ["127.0.0.1"] }),
      workloadReport({ name: "surplus", ports: { ssh: 22 } }),
      workloadReport({ name: "inherited", ports: { constructor: 22 } }),
      workloadReport({ name: "no-port", ports: { http: 70_000 } }),
      workloadReport({ name: "twice" }),
      workloadReport({ name: "twice" }),
    ]));
    assert.deepEqual(refused.map(({ workload, reason }) => `${workload}: ${reason}`), [
      "other-group: the host was not granted the group shop/db",
      "foreign: the address 192.168.1.1 is outside of the host's grant",
      "named: db.example.com is not an IP address",
      "nowhere: it has no address",
      "loopback: the address 127.0.0.1 means another host on every host",
      "surplus: the group has no port named ssh",
      "inherited: the group has no port named constructor",
      "no-port: port http is 70000, which is none",
      "twice: the host reports it twice",
    ]);
    assert.deepEqual([...agents.workloads.entries().keys()], ["hosts/h1/twice"]);
    assert.equal(agents.status().notes.length, 9);
  });

  it("follows the group and the grant", () => {
    agents.connected("h1");
    agents.report("h1", hostReport([workloadReport()]));
    templates.apply([["shop/web", template({ labels: { app: "web", version: "v2" }, ports: {} })]]);
    assert.equal(agents.workloads.get("hosts/h1/web")?.labels["version"], "v2");
    templates.apply([["shop/web", undefined]]);
    assert.equal(agents.workloads.entries().size, 0);
    templates.apply([["shop/web", template({})]]);
    assert.equal(agents.workloads.entries().size, 1);
    granted.clear();
    agents.recheck("h1");
    assert.equal(agents.workloads.entries().size, 0);
    assert.equal(agents.hosts.get("h1")?.refusals.length, 1);
  });

  it("removes a workload that is missing from the report", () => {
    agents.report("h1", hostReport([workloadReport(), workloadReport({ name: "two" })]));
    agents.report("h1", hostReport([workloadReport({ name: "two" })]));
    assert.deepEqual([...agents.workloads.entries().keys()], ["hosts/h1/two"]);
  });

  it("gives a lost host no new traffic after the grace, and forgets it later", () => {
    const lost = agents.connected("h1");
    agents.report("h1", hostReport([workloadReport()]));
    lost();
    assert.equal(agents.hosts.get("h1")?.state, "suspect");
    clock.advance(graceMs - 1);
    assert.equal(health(), "healthy");
    clock.advance(1);
    assert.equal(agents.hosts.get("h1")?.state, "gone");
    assert.equal(health(), "unhealthy");
    clock.advance(forgetMs - 1);
    assert.equal(agents.hosts.entries().size, 1);
    clock.advance(1);
    assert.equal(agents.hosts.entries().size, 0);
    assert.equal(agents.workloads.entries().size, 0);
  });

  it("counts no time in which it could hear nobody: not of the grace, and not of the time to come back", async () => {
    const lost = agents.connected("h1");
    agents.report("h1", hostReport([workloadReport()]));
    lost();
    clock.advance(graceMs / 2);
    clock.stall(20 * graceMs);
    clock.advance(0);
    assert.equal(agents.hosts.get("h1")?.state, "suspect", "what it said meanwhile is not read yet");
    clock.advance(graceMs / 2);
    assert.equal(agents.hosts.get("h1")?.state, "gone");
    agents.connected("h1");
    await agents.close();

    const restarted = await startAgents();
    clock.advance(returnMs / 2);
    clock.stall(20 * returnMs);
    clock.advance(returnMs / 3);
    assert.equal(health(restarted), "healthy");
    clock.advance(returnMs / 3);
    assert.equal(health(restarted), "unhealthy");
    await restarted.close();
  });

  it("does not lose a host whose stream was replaced by a newer one", () => {
    const first = agents.connected("h1");
    agents.report("h1", hostReport([workloadReport()]));
    const second = agents.connected("h1");
    first();
    first();
    clock.advance(10 * graceMs);
    assert.equal(agents.hosts.get("h1")?.state, "connected");
    second();
    clock.advance(graceMs);
    assert.equal(agents.hosts.get("h1")?.state, "gone");
    agents.connected("h1");
    assert.equal(health(), "healthy");
  });

  it("removes a host that leaves at once", async () => {
    agents.connected("h1");
    agents.report("h1", hostReport([workloadReport()]));
    agents.remove("h1");
    assert.equal(agents.workloads.entries().size + agents.hosts.entries().size, 0);
    await agents.close();
    assert.deepEqual((await store.list("")).items, []);
  });

  it("lets hosts that it knows from before serve until they had time to come back", async () => {
    agents.connected("h1");
    agents.report("h1", hostReport([workloadReport()]));
    await agents.close();
    const restarted = await startAgents(false);
    assert.equal(restarted.hosts.get("h1")?.state, "unknown");
    clock.advance(100 * returnMs);
    assert.equal(health(restarted), "healthy", "nobody is judged before the control plane serves");
    restarted.ready();
    clock.advance(returnMs - 1);
    assert.equal(health(restarted), "healthy");
    clock.advance(1);
    assert.equal(health(restarted), "unhealthy");
    await restarted.close();
    const again = await startAgents();
    assert.equal(again.hosts.get("h1")?.state, "gone", "one that was gone is not revived by a restart");
    await again.close();
  });

  describe("when many hosts are lost", () => {
    const HOSTS = ["h1", "h2", "h3", "h4", "h5", "h6", "h7"];
    let lose: Map<string, () => void>;
    const stateOf = (hostId: string): string | undefined => agents.hosts.get(hostId)?.state;
    const healthOf = (hostId: string): string | undefined => agents.workloads.get(`hosts/${hostId}/web`)?.health;
    const open = (count: number): void => {
      for (const hostId of HOSTS.slice(0, count)) {
        granted.add(`${hostId} shop/web`);
        lose.set(hostId, agents.connected(hostId));
        agents.report(hostId, hostReport([workloadReport({ addresses: [`10.0.0.${hostId.slice(1)}`] })]));
      }
    };
    beforeEach(() => {
      lose = new Map();
    });

    it("takes the loss of more than half within one grace for its own outage", () => {
      open(5);
      lose.get("h1")?.();
      clock.advance(graceMs / 2);
      // However the clock is set meanwhile.
      clock.step(3 * 3_600_000);
      lose.get("h2")?.();
      assert.deepEqual(["h1", "h2"].map(stateOf), ["suspect", "suspect"]);
      lose.get("h3")?.();
      assert.deepEqual(["h1", "h2", "h3", "h4"].map(stateOf), ["unknown", "unknown", "unknown", "connected"]);
      clock.advance(2 * graceMs);
      lose.get("h4")?.();
      assert.equal(stateOf("h4"), "unknown", "it goes where the others went");
      clock.advance(returnMs - 2 * graceMs - 1);
      assert.deepEqual(["h1", "h3", "h4"].map(healthOf), ["healthy", "healthy", "healthy"]);
      clock.advance(1);
      assert.deepEqual(["h1", "h3", "h4", "h5"].map(healthOf), ["unhealthy", "unhealthy", "healthy", "healthy"]);
    });

    it("takes those that are lost before and after a time in which it heard nobody for lost together", () => {
      open(5);
      lose.get("h1")?.();
      clock.stall(20 * graceMs);
      for (const hostId of ["h2", "h3"]) lose.get(hostId)?.();
      assert.deepEqual(["h1", "h2", "h3"].map(stateOf), ["unknown", "unknown", "unknown"]);
    });

    it("judges nobody while those that were lost together are coming back, and then who is missing", () => {
      open(7);
      for (const leave of lose.values()) leave();
      const [again] = ["h1", "h2", "h3", "h4", "h5"].map((hostId) => agents.connected(hostId));
      clock.advance(returnMs - graceMs);
      again?.();
      clock.advance(graceMs - 2);
      agents.connected("h6");
      assert.deepEqual(["h1", "h7"].map(stateOf), ["suspect", "unknown"]);
      clock.advance(graceMs - 1);
      assert.deepEqual(["h1", "h7"].map(healthOf), ["healthy", "healthy"], "they may be waiting behind the one that came just now");
      clock.advance(1);
      assert.deepEqual(["h1", "h7"].map(stateOf), ["gone", "gone"]);
    });

    it("judges those that stay away in the end, however often another one is lost and comes back", () => {
      open(7);
      for (const hostId of ["h1", "h2", "h3", "h4"]) lose.get(hostId)?.();
      assert.deepEqual(["h1", "h4", "h5"].map(stateOf), ["unknown", "unknown", "connected"]);
      let leave = lose.get("h5");
      const flap = (awayMs: number, hereMs: number): void => {
        leave?.();
        clock.advance(awayMs);
        leave = agents.connected("h5");
        clock.advance(hereMs);
      };
      const turns = (longestMs * 3) / graceMs;
      for (let turn = 0; turn < turns; turn += 1) flap(graceMs / 6, graceMs / 6);
      assert.deepEqual(["h1", "h4"].map(healthOf), ["healthy", "healthy"], "not yet");
      flap(1, 1);
      assert.deepEqual(["h1", "h4", "h5"].map(healthOf), ["unhealthy", "unhealthy", "healthy"]);
    });

    it("judges those that stay away in the end, too, where the only other one comes and goes", () => {
      open(3);
      for (const hostId of ["h1", "h2"]) lose.get(hostId)?.();
      let leave = lose.get("h3");
      const flaps = (count: number): void => {
        for (let turn = 0; turn < count; turn += 1) {
          leave?.();
          clock.advance(2 * returnMs);
          leave = agents.connected("h3");
          clock.advance(returnMs / 2);
        }
      };
      flaps((2 * longestMs) / returnMs - 1);
      assert.deepEqual(["h1", "h2"].map(healthOf), ["healthy", "healthy"], "a time in which nobody was there is none");
      flaps(2);
      assert.deepEqual(["h1", "h2", "h3"].map(healthOf), ["unhealthy", "unhealthy", "healthy"]);
    });

    it("judges nobody while nobody is there, and lets all return when the first one does", () => {
      open(3);
      for (const leave of lose.values()) leave();
      clock.advance(10 * returnMs);
      assert.deepEqual(["h1", "h2", "h3"].map(healthOf), ["healthy", "healthy", "healthy"]);
      const again = agents.connected("h1");
      clock.advance(returnMs - 1);
      agents.connected("h2");
      clock.advance(graceMs - 1);
      assert.deepEqual(["h1", "h2", "h3"].map(stateOf), ["connected", "connected", "unknown"], "it may be waiting behind the one that came just now");
      clock.advance(1);
      assert.deepEqual(["h1", "h2", "h3"].map(stateOf), ["connected", "connected", "gone"]);
      again();
      assert.equal(stateOf("h1"), "suspect", "the outage is over");
    });

    it("judges those that are lost one after the other, or half of them, or of two", () => {
      open(5);
      for (const hostId of ["h1", "h2", "h3"]) {
        lose.get(hostId)?.();
        clock.advance(graceMs + 1);
        assert.equal(stateOf(hostId), "gone");
      }
      lose.get("h4")?.();
      lose.get("h5")?.();
      clock.advance(graceMs);
      assert.deepEqual(["h4", "h5"].map(stateOf), ["gone", "gone"]);
      open(4);
      for (const hostId of ["h1", "h2"]) lose.get(hostId)?.();
      clock.advance(graceMs);
      assert.deepEqual(["h1", "h2"].map(stateOf), ["gone", "gone"]);
    });
  });

  it("gives a host that reports before its stream is back as much time as it had", async () => {
    agents.connected("h1");
    agents.report("h1", hostReport([workloadReport()]));
    await agents.close();
    const restarted = await startAgents();
    restarted.report("h1", hostReport([workloadReport()]));
    clock.advance(returnMs - 1);
    assert.equal(restarted.hosts.get("h1")?.state, "unknown");
    assert.equal(health(restarted), "healthy");
    clock.advance(1);
    assert.equal(health(restarted), "unhealthy");
    await restarted.close();
  });

  it("writes a report to the store once, not with every heartbeat", async () => {
    for (let beat = 0; beat < 3; beat += 1) {
      agents.report("h1", hostReport([workloadReport()]));
      await new Promise(setImmediate);
    }
    assert.equal((await store.list("")).revision, 1);
  });
});

function template(overrides: Partial<WorkloadTemplate>): WorkloadTemplate {
  return {
    namespace: "shop",
    name: "web",
    labels: {},
    ports: {},
    serviceAccount: "web",
    locality: "",
    network: "",
    weight: 1,
    ...overrides,
  };
}
