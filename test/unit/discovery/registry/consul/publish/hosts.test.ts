import assert from "node:assert/strict";
import { type AnyResource, resourceKey } from "../../../../../../api/resource.ts";
import { type Clock, systemClock } from "../../../../../../base/clock.ts";
import { SourceCollection } from "../../../../../../base/collection.ts";
import { silentLogger } from "../../../../../../base/logger.ts";
import { TaskGroup } from "../../../../../../base/task-group.ts";
import { createCatalog } from "../../../../../../discovery/catalog/catalog.ts";
import { VipAllocator } from "../../../../../../discovery/catalog/vip.ts";
import { type AgentsRegistry, createAgentsRegistry, LIVENESS_DEFAULTS } from "../../../../../../discovery/registry/agents/registry.ts";
import { OwnNodes } from "../../../../../../discovery/registry/consul/publish/own-nodes.ts";
import { createPublisher, type Publisher } from "../../../../../../discovery/registry/consul/publish/publisher.ts";
import { createStaticRegistry } from "../../../../../../discovery/registry/static/registry.ts";
import type { KeyValueStore } from "../../../../../../store/key-value.ts";
import { createMemoryStore } from "../../../../../../store/memory.ts";
import { FakeConsulCatalog } from "../../../../../fakes/consul-catalog.ts";
import { hostReport, workloadReport } from "../../../../../support/host-report.ts";
import { createManualClock, type ManualClock } from "../../../../../support/manual-clock.ts";
import { resource } from "../../../../../support/resource.ts";
import { waitUntil } from "../../../../../support/wait-until.ts";

const HOLD_MS = 77_777;
const HOSTS = ["h1", "h2", "h3"];

describe("hosts in consul", () => {
  let consul: FakeConsulCatalog;
  let store: KeyValueStore;
  let clock: ManualClock;
  let hosts: AgentsRegistry;
  let publisher: Publisher;
  let tasks: TaskGroup;
  let endHold: () => void;
  const leave = new Map<string, () => void>();

  /** A control plane, as far as it takes part. */
  async function start(): Promise<void> {
    tasks = new TaskGroup();
    const config = new SourceCollection<AnyResource>();
    const statics = tasks.own(createStaticRegistry({ config, meshDomain: "mesh.internal" }));
    hosts = tasks.own(
      createAgentsRegistry({ templates: statics.templates, store, clock, liveness: LIVENESS_DEFAULTS, grants: { allowsGroup: () => true, allowsAddress: () => true } }),
    );
    await hosts.load();
    const vips = await VipAllocator.load({ store, ranges: ["240.240.0.0/16", "2001:2::/48"], now: Date.now });
    const catalog = tasks.own(createCatalog({ registries: [statics, hosts], meshDomain: "mesh.internal", trustDomain: "mesh.internal", vips, onVipFailure: (failure) => assert.fail(String(failure)) }));
    statics.start();
    hosts.start();
    const written = [
      resource("Service", "web", { selector: { app: "web" }, ports: [{ name: "http", port: 80 }] }, { namespace: "shop" }),
      resource("WorkloadGroup", "web", { metadata: { labels: { app: "web" } }, template: { ports: { http: 8_080 } } }, { namespace: "shop" }),
    ];
    config.apply(written.map((one) => [resourceKey(one), one]));
    const publishing: Clock = {
      ...systemClock,
      after(delayMs, callback) {
        if (delayMs !== HOLD_MS) return systemClock.after(delayMs, callback);
        endHold = callback;
        return () => {};
      },
    };
    publisher = tasks.own(
      createPublisher({
        owner: "mesh.internal/consul",
        node: "ironmesh",
        ownNodes: new OwnNodes(store, "consul"),
        address: consul.address,
        from: ["hosts"],
        nameTemplate: "{name}",
        tags: [],
        services: catalog.services,
        endpoints: catalog.endpoints,
        workloads: catalog.workloads,
        pacing: { holdMs: HOLD_MS, gatherMs: 1, intervalMs: 20, writeIntervalMs: 1 },
        clock: publishing,
        logger: silentLogger,
      }),
    );
    hosts.ready();
    publisher.start();
  }

  function join(...names: readonly string[]): void {
    for (const name of names) {
      leave.set(name, hosts.connected(name));
      assert.deepEqual(hosts.report(name, hostReport([workloadReport({ addresses: [`10.0.0.${name.slice(1)}`] })], name)), []);
    }
  }

  beforeEach(async () => {
    consul = await new FakeConsulCatalog().listen();
    store = createMemoryStore();
    clock = createManualClock();
    await start();
    join(...HOSTS);
    await reached("passing,passing,passing");
  });

  afterEach(async () => {
    await tasks.close();
    await consul.close();
  });

  const statuses = (): string => consul.checksOf("ironmesh").map(({ Status: status }) => status).sort().join();
  const reached = (wanted: string): Promise<boolean> => waitUntil(() => statuses() === wanted, { what: `checks to be ${wanted || "none"}`, intervalMs: 5 });
  async function staysSo(): Promise<void> {
    const [from, before] = [consul.readings, statuses()];
    await waitUntil(() => consul.readings >= from + 3, { what: "more readings" });
    assert.equal(statuses(), before);
  }

  it("turn critical when they are missed, pass when they are back, and go when they are forgotten", async () => {
    endHold();
    leave.get("h1")?.();
    await staysSo();
    clock.advance(LIVENESS_DEFAULTS.graceMs);
    await reached("critical,passing,passing");
    assert.match(consul.checksOf("ironmesh").map(({ Output: output }) => output).join("\n"), /unhealthy in the mesh: its host has been silent since/);
    join("h1");
    await reached("passing,passing,passing");
    leave.get("h1")?.();
    clock.advance(LIVENESS_DEFAULTS.graceMs + LIVENESS_DEFAULTS.forgetMs);
    await reached("passing,passing");
    hosts.remove("h2");
    await reached("passing");
  });

  it("stay as they are over a restart of the control plane, and its outage", async () => {
    await tasks.close();
    await start();
    await staysSo();
    assert.equal(statuses(), "passing,passing,passing");
    endHold();
    join(...HOSTS);
    for (const name of HOSTS) leave.get(name)?.();
    clock.advance(10 * LIVENESS_DEFAULTS.graceMs);
    await staysSo();
    assert.equal(statuses(), "passing,passing,passing", "most hosts at once: that is our own outage");
  });

  it("that an empty store does not know stay until they had the time to return", async () => {
    await tasks.close();
    store = createMemoryStore();
    await start();
    await staysSo();
    join("h1");
    await staysSo();
    assert.equal(statuses(), "passing,passing,passing");
    assert.match(publisher.status().notes.join(), /^2 published instances would be removed/);
    endHold();
    await reached("passing");
  });
});
