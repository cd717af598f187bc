import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLogger } from "../../../../base/logger.ts";
import { SourceCollection } from "../../../../base/collection.ts";
import { type Catalog, createCatalog } from "../../../../discovery/catalog/catalog.ts";
import { VipAllocator } from "../../../../discovery/catalog/vip.ts";
import type { ControlPlaneApi } from "../../../../discovery/http/api.ts";
import { createMeshMetrics, MESH_FAMILIES } from "../../../../discovery/http/mesh-metrics.ts";
import { observeRegistries, REGISTRY_FAMILIES } from "../../../../discovery/http/registry-metrics.ts";
import { type HttpServer, serveHttp } from "../../../../discovery/http/server.ts";
import { type AgentsRegistry, createAgentsRegistry, LIVENESS_DEFAULTS } from "../../../../discovery/registry/agents/registry.ts";
import type { Registry, RegistryService, RegistryStatus, WorkloadTemplate } from "../../../../discovery/registry/registry.ts";
import { type Health, NO_LOCALITY, type Workload } from "../../../../model/workload.ts";
import { createMemoryStore } from "../../../../store/memory.ts";
import { hostReport, workloadReport } from "../../../support/host-report.ts";
import { createManualClock } from "../../../support/manual-clock.ts";
import { createSlices } from "../../../support/push-slices.ts";

/** A registry whose content and status the test writes. */
class PlainRegistry implements Registry {
  readonly services = new SourceCollection<RegistryService>();
  readonly workloads = new SourceCollection<Workload>();
  readonly templates = new SourceCollection<WorkloadTemplate>();
  readonly name: string;
  readonly servicesStandAlone = true;
  told: Partial<RegistryStatus> = {};
  looks = 0;
  constructor(name: string) {
    this.name = name;
  }
  start(): void {}
  close(): void {}
  status(): RegistryStatus {
    this.looks += 1;
    return { name: this.name, kind: "consul", synced: true, services: this.services.entries().size, workloads: 0, notes: [], ...this.told };
  }
}

describe("metrics of registries", () => {
  const clock = createManualClock();
  let streamLooks: number;
  let folder: string;
  let server: HttpServer;
  let catalog: Catalog;
  let hosts: AgentsRegistry;
  let east: PlainRegistry;
  let west: PlainRegistry;
  let registries: Registry[];

  beforeEach(async () => {
    const store = createMemoryStore();
    const templates = new SourceCollection<WorkloadTemplate>();
    templates.apply([["shop/web", { namespace: "shop", name: "web", labels: { app: "web" }, ports: {}, serviceAccount: "web", locality: "", network: "", weight: 1 }]]);
    hosts = createAgentsRegistry({ templates, grants: { allowsGroup: () => true, allowsAddress: () => true }, store, clock, liveness: LIVENESS_DEFAULTS });
    await hosts.load();
    east = new PlainRegistry("east");
    west = new PlainRegistry("west");
    registries = [hosts, east, west];
    catalog = createCatalog({
      registries,
      meshDomain: "mesh.internal",
      trustDomain: "mesh.internal",
      vips: await VipAllocator.load({ store, ranges: ["240.240.0.0/16", "2001:2::/48"], now: () => clock.now() }),
      onVipFailure: (failure) => assert.fail(String(failure)),
    });
    hosts.start();
    streamLooks = 0;
    const streams = (): [] => {
      streamLooks += 1;
      return [];
    };
    folder = await mkdtemp(join(tmpdir(), "ironmesh-metrics-"));
    server = await serveHttp({
      api: {} as ControlPlaneApi,
      metrics: createMeshMetrics({ catalog, hosts, registries, streams, clock }),
      logger: silentLogger,
      apiSocket: join(folder, "api.sock"),
      metricsAddress: { host: "127.0.0.1", port: 0 },
    });
  });

  afterEach(async () => {
    await server.close();
    await catalog.close();
    await hosts.close();
    await rm(folder, { recursive: true });
  });

  async function scrape(): Promise<string> {
    const response = await fetch(`http://127.0.0.1:${server.metricsPort}/metrics`);
    assert.equal(response.status, 200);
    return response.text();
  }
  /** Samples of a metric as they are written, sorted. */
  async function samples(name: string): Promise<string[]> {
    return (await scrape()).split("\n").filter((line) => line.startsWith(`${name}{`)).map((line) => line.slice(name.length)).sort();
  }

  it("say what a registry says of itself", async () => {
    east.told = {
      ageMs: 7_500,
      services: 3,
      workloads: 12,
      lastError: { code: "MESH_REGISTRY_DENIED", message: "no", since: 0 },
      counters: { watches: 4, wakes: 9, wakesWithoutChange: 2, failures: { MESH_REGISTRY_DENIED: 5, MESH_REGISTRY_UNREACHABLE: 1 }, lastSuccessAt: 1_700_000_000_500, lagMs: 250 },
    };
    west.told = { synced: false, ageMs: 90_000 };
    const text = await scrape();
    for (const line of [
      'ironmesh_registry_synced{registry="east",kind="consul"} 1',
      'ironmesh_registry_synced{registry="west",kind="consul"} 0',
      'ironmesh_registry_synced{registry="hosts",kind="hosts"} 1',
      'ironmesh_registry_failing{registry="east",kind="consul"} 1',
      'ironmesh_registry_failing{registry="west",kind="consul"} 0',
      'ironmesh_registry_data_age_seconds{registry="east",kind="consul"} 7.5',
      'ironmesh_registry_services{registry="east",kind="consul"} 3',
      'ironmesh_registry_workloads{registry="east",kind="consul"} 12',
      'ironmesh_registry_watches{registry="east",kind="consul"} 4',
      'ironmesh_registry_wakes_total{registry="east",kind="consul"} 9',
      'ironmesh_registry_wakes_without_change_total{registry="east",kind="consul"} 2',
      'ironmesh_registry_failures_total{registry="east",kind="consul",code="MESH_REGISTRY_DENIED"} 5',
      'ironmesh_registry_failures_total{registry="east",kind="consul",code="MESH_REGISTRY_UNREACHABLE"} 1',
      'ironmesh_registry_last_success_timestamp_seconds{registry="east",kind="consul"} 1700000000.5',
      'ironmesh_registry_watch_lag_seconds{registry="east",kind="consul"} 0.25',
      // Whoever does not know when something changed knows how old the data may be.
      'ironmesh_registry_watch_lag_seconds{registry="west",kind="consul"} 90',
    ]) assert.ok(text.split("\n").includes(line), line);
    assert.deepEqual(await samples("ironmesh_registry_watches"), ['{registry="east",kind="consul"} 4'], "what is not known is not there");
  });

  it("tell how many services wait for their turn", async () => {
    const slices = createSlices(createManualClock());
    const vips = await VipAllocator.load({ store: createMemoryStore(), ranges: ["240.240.0.0/16", "2001:2::/48"], now: () => 0 });
    const slow = createCatalog({ registries: [east, west], meshDomain: "mesh.internal", trustDomain: "mesh.internal", vips, onVipFailure: (failure) => assert.fail(String(failure)), clock: slices.clock, pace: { atOnce: 1, atATime: 1 } });
    const waiting = (): unknown => {
      const observed = observeRegistries({ registries: [east, west], catalog: slow, clock });
      const family = REGISTRY_FAMILIES.find(({ name }) => name === "ironmesh_registry_waiting_services") ?? assert.fail("there is none");
      return [...family.samples(observed)].map(([labels, value]) => [labels["registry"], value]);
    };
    west.services.apply(Array.from({ length: 4 }, (_, at) => [`s${at}`, served("west", `s${at}`, ["healthy"])]));
    assert.deepEqual(waiting(), [["east", 0], ["west", 3]]);
    while (slices.runOne());
    assert.deepEqual(waiting(), [["east", 0], ["west", 0]]);
    await slow.close();
  });

  it("count a counter once, however often it is read", async () => {
    east.told = { counters: { watches: 1, wakes: 9, wakesWithoutChange: 0, failures: {} } };
    await scrape();
    assert.deepEqual(await samples("ironmesh_registry_wakes_total"), ['{registry="east",kind="consul"} 9']);
  });

  it("ask each registry, and all streams, once for a scrape", async () => {
    await scrape();
    assert.deepEqual([east.looks, streamLooks], [1, 1]);
    await scrape();
    assert.deepEqual([east.looks, streamLooks], [2, 2]);
  });

  it("count endpoints by health under the registry that they come from, and claims in vain", async () => {
    east.services.apply([["web", served("east", "web", ["healthy", "healthy", "unhealthy", "draining"])]]);
    west.services.apply([["web", served("west", "web", ["healthy"])], ["db", served("west", "db", ["unknown"])]]);
    assert.deepEqual(await samples("ironmesh_registry_pending_claims"), ['{registry="east",kind="consul"} 0', '{registry="hosts",kind="hosts"} 0', '{registry="west",kind="consul"} 1']);
    const all = await samples("ironmesh_registry_endpoints");
    assert.deepEqual(all.filter((line) => line.includes("east")), [
      '{registry="east",kind="consul",health="draining"} 1',
      '{registry="east",kind="consul",health="healthy"} 2',
      '{registry="east",kind="consul",health="unhealthy"} 1',
      '{registry="east",kind="consul",health="unknown"} 0',
    ]);
    assert.deepEqual(all.filter((line) => line.includes("west") && !line.endsWith(" 0")), ['{registry="west",kind="consul",health="unknown"} 1']);
  });

  it("lose what a registry that is removed, or recovers, had", async () => {
    west.services.apply([["db", served("west", "db", ["healthy"])]]);
    west.told = { ageMs: 1, counters: { watches: 1, wakes: 1, wakesWithoutChange: 0, failures: { MESH_REGISTRY_DENIED: 1 } } };
    assert.match(await scrape(), /registry="west"/);
    registries.pop();
    assert.doesNotMatch(await scrape(), /west/);
    east.told = { ageMs: 3 };
    assert.equal((await samples("ironmesh_registry_data_age_seconds")).length, 2);
    east.told = {};
    assert.deepEqual(await samples("ironmesh_registry_data_age_seconds"), ['{registry="hosts",kind="hosts"} 0']);
  });

  it("lose the workloads and endpoints of a host that is removed", async () => {
    east.services.apply([["web", { ...served("east", "web", []), namespace: "shop", backends: { kind: "selector", labels: { app: "web" } } }]]);
    hosts.report("h1", hostReport([workloadReport()]));
    const of = async (name: string): Promise<string[]> => (await samples(name)).filter((line) => line.startsWith('{registry="hosts"') && !line.endsWith(" 0"));
    assert.equal((await of("ironmesh_registry_workloads")).length, 1);
    assert.equal((await of("ironmesh_registry_endpoints")).length, 1);
    assert.match(await scrape(), /^ironmesh_hosts 1$/m);
    hosts.remove("h1");
    assert.deepEqual([...(await of("ironmesh_registry_workloads")), ...(await of("ironmesh_registry_endpoints"))], []);
    assert.match(await scrape(), /^ironmesh_hosts 0$/m);
  });

  it("keep a name that is written into a label from breaking the page", async () => {
    east.told = { name: 'a"b\\c\nd' };
    assert.ok((await scrape()).split("\n").includes(String.raw`ironmesh_registry_synced{registry="a\"b\\c\nd",kind="consul"} 1`));
  });

  it("are named by Prometheus' conventions, each once", () => {
    const families = [...MESH_FAMILIES, ...REGISTRY_FAMILIES];
    assert.equal(new Set(families.map(({ name }) => name)).size, families.length);
    for (const { name, type, help, labels } of families) {
      assert.match(name, /^ironmesh_[a-z][a-z0-9_]*$/);
      assert.equal(name.endsWith("_total"), type === "counter", name);
      assert.ok(help.length > 0 && labels.every((label) => /^[a-z]+$/.test(label)), name);
    }
  });
});

function served(registry: string, name: string, health: readonly Health[]): RegistryService {
  const source = { registry, object: name };
  const workloads = health.map((of, at): Workload => ({
    key: `${registry}/${name}/${at}`, namespace: "shared", name: `${name}-${at}`, addresses: [`10.0.0.${at}`], ports: {}, labels: {}, serviceAccount: "", locality: NO_LOCALITY, network: "", weight: 1, health: of, meshed: false, source,
  }));
  return {
    namespace: "shared", name, hostname: `${name}.shared.svc.mesh.internal`, aliases: [], ports: [{ name: "http", number: 80, protocol: "HTTP" }], resolution: "static", external: false,
    labels: {}, subjectAltNames: [], exportTo: ["*"], source, claim: "canonical", addresses: [], backends: { kind: "explicit", workloads }, allowsPlaintext: true, notes: [],
  };
}
