import assert from "node:assert/strict";
import fc from "fast-check";
import { type AnyResource, resourceKey } from "../../../../api/resource.ts";
import { SourceCollection } from "../../../../base/collection.ts";
import { type Catalog, createCatalog } from "../../../../discovery/catalog/catalog.ts";
import { VipAllocator } from "../../../../discovery/catalog/vip.ts";
import type { WorkloadTemplate } from "../../../../discovery/registry/registry.ts";
import { createStaticRegistry } from "../../../../discovery/registry/static/registry.ts";
import type { Workload } from "../../../../model/workload.ts";
import { createMemoryStore } from "../../../../store/memory.ts";
import { createFailingStore } from "../../../support/failing-store.ts";
import { createManualClock } from "../../../support/manual-clock.ts";
import { foreignService, meshedWorkload, PlainRegistry, plainWorkload } from "../../../support/plain-registry.ts";
import { resource } from "../../../support/resource.ts";

describe("catalog", () => {
  let config: SourceCollection<AnyResource>;
  let hosts: PlainRegistry;
  let consul: PlainRegistry;
  let catalog: Catalog;

  beforeEach(async () => {
    config = new SourceCollection();
    hosts = new PlainRegistry("hosts");
    consul = new PlainRegistry("consul");
    catalog = await start();
  });

  afterEach(() => catalog.close());

  async function start(): Promise<Catalog> {
    const written = createStaticRegistry({ config, meshDomain: "mesh.internal" });
    written.start();
    const store = createMemoryStore();
    return createCatalog({
      registries: [written, hosts, consul],
      meshDomain: "mesh.internal",
      trustDomain: "mesh.internal",
      vips: await VipAllocator.load({ store, ranges: ["240.240.0.0/16", "2001:2::/48"], now: Date.now }),
      onVipFailure: (failure) => assert.fail(String(failure)),
    });
  }

  const put = (...resources: AnyResource[]): void => config.apply(resources.map((one) => [resourceKey(one), one]));
  const drop = (...resources: AnyResource[]): void => config.apply(resources.map((one) => [resourceKey(one), undefined]));
  const join = (...workloads: Workload[]): void => hosts.workloads.apply(workloads.map((one) => [one.key, one]));
  const places = (key: string): string[] => (catalog.endpoints.get(key) ?? []).map(({ address, port }) => `${address}:${port}`);
  const reviews = resource("Service", "reviews", { selector: { app: "reviews" }, ports: [{ name: "http", port: 80, targetPort: "http" }] });

  it("selects workloads of its own namespace, by labels", () => {
    put(reviews);
    join(
      meshedWorkload("1"),
      meshedWorkload("2", { labels: { app: "other" } }),
      meshedWorkload("3", { namespace: "elsewhere" }),
      meshedWorkload("4", { labels: { app: "reviews", version: "v2" } }),
    );
    assert.deepEqual(places("default/reviews"), ["10.0.0.1:9080", "10.0.0.4:9080"]);
    assert.equal(catalog.endpoints.get("default/reviews")?.[0]?.identity, "spiffe://mesh.internal/ns/default/sa/reviews");
    join(meshedWorkload("1", { labels: {} }));
    assert.deepEqual(places("default/reviews"), ["10.0.0.4:9080"]);
    hosts.workloads.apply([["hosts/4", undefined]]);
    assert.deepEqual(places("default/reviews"), []);
  });

  it("prefers what a workload says of a port, and leaves out one that has none", () => {
    put(reviews, resource("Service", "numbered", { selector: { app: "reviews" }, ports: [{ name: "http", port: 80, targetPort: 7 }, { name: "tcp", port: 81 }] }));
    join(meshedWorkload("1", { ports: { http: 1_234 } }), meshedWorkload("2", { ports: {} }));
    assert.deepEqual(places("default/reviews"), ["10.0.0.1:1234"]);
    assert.deepEqual(places("default/numbered"), ["10.0.0.1:1234", "10.0.0.2:7", "10.0.0.1:81", "10.0.0.2:81"]);
    assert.match(catalog.findings.get("default/reviews")?.notes.join() ?? "", /no port/);
    join(...["3", "4", "5", "6"].map((id) => meshedWorkload(id, { ports: {} })));
    assert.deepEqual(catalog.findings.get("default/reviews")?.notes, ["hosts 2, hosts 3, hosts 4 and 2 more: has no port http"], "not one for each of thousands");
  });

  it("gives an instance that is known by a name no traffic where endpoints are found by address, and says so", () => {
    put(reviews, resource("ServiceEntry", "named", { hosts: ["named.example.com"], resolution: "DNS", ports: [{ name: "http", number: 80 }], workloadSelector: { labels: { app: "reviews" } } }));
    join(meshedWorkload("1"), meshedWorkload("2", { addresses: ["vm-2.example.com"] }));
    assert.deepEqual(places("default/reviews"), ["10.0.0.1:9080"]);
    assert.deepEqual(catalog.findings.get("default/reviews")?.notes, ["hosts 2: its address vm-2.example.com is a name, and endpoints of the service are found by address: write an IP address, or a ServiceEntry with resolution DNS"]);
    assert.deepEqual(places("default/named.example.com"), ["10.0.0.1:9080", "vm-2.example.com:9080"]);
  });

  it("changes the endpoints of one service for one workload", () => {
    put(reviews, resource("Service", "other", { selector: { app: "other" }, ports: [{ name: "http", port: 80 }] }));
    join(meshedWorkload("1"), meshedWorkload("2", { labels: { app: "other" } }));
    const touched: string[] = [];
    catalog.endpoints.subscribe((changes) => touched.push(...changes.map(({ key }) => key)));
    join(meshedWorkload("1", { health: "unhealthy" }));
    assert.deepEqual(touched, ["default/reviews"]);
  });

  it("keeps plain endpoints out of what the mesh serves, even while no meshed instance is there", () => {
    const entry = resource("WorkloadEntry", "vm", { address: "10.0.9.9", labels: { app: "reviews" }, ports: { http: 9_080 } });
    put(reviews, entry);
    assert.deepEqual(places("default/reviews"), ["10.0.9.9:9080"]);
    const group = resource("WorkloadGroup", "reviews", { metadata: { labels: { app: "reviews" } }, template: { serviceAccount: "reviews" } });
    put(group);
    assert.deepEqual(places("default/reviews"), []);
    join(meshedWorkload("1"));
    assert.deepEqual(places("default/reviews"), ["10.0.0.1:9080"]);
    assert.match(catalog.findings.get("default/reviews")?.notes.join() ?? "", /plain endpoint/);
    put({ ...reviews, metadata: { ...reviews.metadata, annotations: { "ironmesh.io/allow-plaintext": "true" } } });
    assert.deepEqual(places("default/reviews"), ["10.0.0.1:9080", "10.0.9.9:9080"]);
  });

  it("counts two workloads at one place once", () => {
    put(reviews);
    join(meshedWorkload("1"), meshedWorkload("2", { addresses: ["10.0.0.1"] }), meshedWorkload("3", { addresses: ["10.0.0.1"], network: "far" }));
    assert.deepEqual(catalog.endpoints.get("default/reviews")?.map(({ workload }) => workload), ["hosts/1", "hosts/3"]);
  });

  it("believes the one that serves, of two that a registry has at one place, whichever key sorts first", () => {
    put(reviews);
    const plain = { meshed: false };
    const left = (key: string, address: string, health: "unhealthy" | "draining"): Workload => ({ ...meshedWorkload("x", { addresses: [address], health, ...plain }), key: `hosts/${key}` });
    join(left("0", "10.0.0.1", "unhealthy"), meshedWorkload("1", plain), meshedWorkload("2", plain), left("3", "10.0.0.2", "draining"));
    assert.deepEqual(catalog.endpoints.get("default/reviews")?.map(({ workload, health }) => [workload, health]), [["hosts/1", "healthy"], ["hosts/2", "healthy"]]);
    join(meshedWorkload("1", { health: "unhealthy", ...plain }));
    assert.deepEqual(catalog.endpoints.get("default/reviews")?.map(({ health }) => health), ["unhealthy", "healthy"]);
  });

  it("tells what is said of the health of instances, also of those that another registry's service brings", () => {
    put(reviews);
    join(meshedWorkload("1"), meshedWorkload("2", { health: "unhealthy", healthDetail: "it burns" }));
    consul.services.apply([["db", { ...foreignService("consul", "db"), backends: { kind: "explicit", workloads: [plainWorkload("10.0.0.8", { healthDetail: "disk: full" })] } }]]);
    assert.deepEqual([...catalog.healthDetails("default/reviews")], [["hosts/2", "it burns"]]);
    assert.deepEqual([...catalog.healthDetails("consul/db").values()], ["disk: full"]);
    assert.equal(catalog.healthDetails("default/nobody").size, 0);
  });

  it("counts two workloads at one place once also where they spell its address otherwise", () => {
    put(reviews);
    join(meshedWorkload("1", { addresses: ["fd00::1"] }), meshedWorkload("2", { addresses: ["FD00:0:0::1"] }), meshedWorkload("3", { addresses: ["10.0.0.3", "fd00:0::1"] }), meshedWorkload("4", { addresses: ["fd00::4"] }));
    assert.deepEqual(places("default/reviews"), ["fd00::1:9080", "fd00::4:9080"]);
  });

  it("believes a meshed workload before a plain one at the same place", () => {
    put({ ...reviews, metadata: { ...reviews.metadata, annotations: { "ironmesh.io/allow-plaintext": "true" } } });
    // Its key sorts first.
    join({ ...meshedWorkload("1", { meshed: false, health: "unhealthy" }), key: "hosts/0" }, meshedWorkload("1"));
    assert.deepEqual(catalog.endpoints.get("default/reviews")?.map(({ workload, health }) => [workload, health]), [["hosts/1", "healthy"]]);
  });

  it("keeps every address of a workload, the first one first", () => {
    put(reviews);
    join(meshedWorkload("1", { addresses: ["10.0.0.1", "fd77::1"] }), meshedWorkload("2"));
    const found = catalog.endpoints.get("default/reviews")?.map(({ address, additionalAddresses }) => [address, additionalAddresses]);
    assert.deepEqual(found, [["10.0.0.1", ["fd77::1"]], ["10.0.0.2", undefined]]);
  });

  it("gives a service that a later registry claims too no traffic, and lets it in when the owner is gone", () => {
    put(reviews);
    join(meshedWorkload("1"));
    consul.services.apply([["reviews", foreignService("default", "reviews")]]);
    assert.deepEqual(places("default/reviews"), ["10.0.0.1:9080"]);
    assert.deepEqual(catalog.findings.get("default/reviews")?.pending, [{ registry: "consul", object: "dc1/reviews" }]);
    drop(reviews);
    assert.deepEqual(places("default/reviews"), ["172.16.0.1:8080"]);
    assert.equal(catalog.findings.get("default/reviews"), undefined);
    assert.equal(catalog.services.get("default/reviews")?.source.registry, "consul");
  });

  it("lets nobody declare another service's hostname", () => {
    const thief = resource("ServiceEntry", "thief", {
      hosts: ["reviews.default.svc.mesh.internal"],
      ports: [{ name: "http", number: 80, protocol: "HTTP" }],
      resolution: "STATIC",
      endpoints: [{ address: "6.6.6.6" }],
    }, { namespace: "aaa" });
    put(thief);
    const key = "aaa/reviews.default.svc.mesh.internal";
    assert.deepEqual(places(key), ["6.6.6.6:80"]);
    put(reviews);
    assert.equal(catalog.services.get(key), undefined);
    assert.equal(catalog.endpoints.get(key), undefined);
    assert.match(catalog.findings.get(key)?.notes[0] ?? "", /no traffic.*belongs to default\/reviews/);
    assert.equal(catalog.names.find("reviews.default.svc.mesh.internal"), "default/reviews");
    drop(reviews);
    assert.deepEqual(places(key), ["6.6.6.6:80"]);
  });

  it("allocates virtual addresses, keeps those that are brought along, and lends nobody another's", async () => {
    put(reviews);
    await catalog.settled();
    const vips = catalog.services.get("default/reviews")?.vips ?? [];
    assert.match(vips[0] ?? "", /^240\.240\./);
    assert.match(vips[1] ?? "", /^2001:2::/);
    put(resource("ServiceEntry", "own", { hosts: ["own.example.com"], addresses: ["10.200.0.1", vips[0] ?? ""], ports: [] }, { namespace: "aaa" }));
    assert.deepEqual(catalog.services.get("aaa/own.example.com")?.vips, ["10.200.0.1"]);
    assert.deepEqual(catalog.services.get("default/reviews")?.vips, vips);
    assert.ok(catalog.names.domains("default/reviews", 80).includes(vips[0] ?? ""));
  });

  it("joins a thousand services without looking at all of them for each", async () => {
    const many = Array.from({ length: 1_000 }, (_, at) => resource("Service", `s${at}`, { selector: { app: `s${at}` }, ports: [{ name: "http", port: 80 }] }));
    let reads = 0;
    const workloads = many.flatMap((_, at) => ["a", "b"].map((half) => counted(meshedWorkload(`${at}${half}`, { labels: { app: `s${at}` }, addresses: [`10.${half === "a" ? 1 : 2}.${at >> 8}.${at & 255}`] }), () => (reads += 1))));
    put(...many);
    join(...workloads);
    await catalog.settled();
    assert.equal(catalog.endpoints.get("default/s999")?.length, 2);
    reads = 0;
    join(meshedWorkload("5a", { labels: { app: "s5" }, health: "unhealthy" }));
    assert.ok(reads < 50, `${reads} workloads read for one change`);
  });

  it("ends in the same catalog as a fresh join, whatever the events (property)", async () => {
    const id = fc.constantFrom("1", "2", "3");
    const app = fc.constantFrom("a", "b");
    const event = fc.oneof(
      fc.record({ do: fc.constant("join" as const), id, app, meshed: fc.boolean() }),
      fc.record({ do: fc.constant("leave" as const), id }),
      fc.record({ do: fc.constant("serve" as const), app, brings: fc.boolean() }),
      fc.record({ do: fc.constant("declare" as const), id, app }),
      fc.record({ do: fc.constant("retract" as const), app }),
      fc.record({ do: fc.constant("register" as const), app }),
      fc.record({ do: fc.constant("deregister" as const), app }),
      fc.record({ do: fc.constant("group" as const), app, there: fc.boolean() }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(event, { maxLength: 25 }), async (events) => {
        config = new SourceCollection();
        hosts = new PlainRegistry("hosts");
        consul = new PlainRegistry("consul");
        const followed = await start();
        for (const one of events) {
          if (one.do === "join") join(meshedWorkload(one.id, { labels: { app: one.app }, meshed: one.meshed }));
          else if (one.do === "leave") hosts.workloads.apply([[`hosts/${one.id}`, undefined]]);
          else if (one.do === "serve") put(resource("Service", one.app, { selector: { app: one.app }, ports: [{ port: one.brings ? 80 : 81 }] }));
          else if (one.do === "retract") drop(resource("Service", one.app, { ports: [] }));
          else if (one.do === "register") consul.services.apply([[one.app, foreignService("default", one.app)]]);
          else if (one.do === "deregister") consul.services.apply([[one.app, undefined]]);
          else if (one.do === "group") hosts.templates.apply([[`default/${one.app}`, one.there ? groupOf(one.app) : undefined]]);
          else put(resource("ServiceEntry", one.id, { hosts: [`${one.app}.default.svc.mesh.internal`], ports: [], addresses: ["10.200.0.1"] }, { namespace: `n${one.id}` }));
        }
        const fresh = await start();
        await Promise.all([followed.settled(), fresh.settled()]);
        assert.deepEqual(contentOf(followed), contentOf(fresh));
        await Promise.all([followed.close(), fresh.close()]);
      }),
      { numRuns: 150 },
    );
  });

  it("lets the addresses rest of who went while nobody looked, once all registries have spoken, and of nobody else", async () => {
    const store = createMemoryStore();
    const clock = createManualClock();
    const load = (): Promise<VipAllocator> => VipAllocator.load({ store, ranges: ["240.240.0.0/16", "2001:2::/48"], now: () => clock.now() });
    await (await load()).allocate(["consul/gone", "consul/late", "consul/there", "consul/kept"]);
    const vips = await load();
    let isSynced = false;
    const silent = new (class extends PlainRegistry {
      override status() {
        return { ...super.status(), synced: isSynced };
      }
    })("silent");
    const own = createCatalog({ registries: [consul, silent], meshDomain: "mesh.internal", trustDomain: "mesh.internal", vips, clock, onVipFailure: (failure) => assert.fail(String(failure)) });
    const resting = async (): Promise<string[]> => {
      await own.settled();
      return (await store.list("vip/")).items.flatMap(({ value }) => ((JSON.parse(value) as { releasedAt?: number }).releasedAt === undefined ? [] : [(JSON.parse(value) as { service: string }).service])).sort();
    };
    consul.services.apply([["there", foreignService("consul", "there")]]);
    clock.advance(600_000);
    assert.deepEqual(await resting(), [], "who has said nothing may have any of them");
    silent.services.apply([["kept", foreignService("consul", "kept")]]);
    isSynced = true;
    clock.advance(60_000);
    assert.deepEqual(await resting(), ["consul/gone", "consul/late"]);
    const [was] = vips.get("consul/late");
    consul.services.apply([["late", foreignService("consul", "late")]]);
    assert.deepEqual(await resting(), ["consul/gone"]);
    assert.equal(own.services.get("consul/late")?.vips[0], was, "it rested, and is its own again");
    await own.close();
  });

  it("allocates and releases virtual addresses also when the store failed at first", async () => {
    const store = createFailingStore(createMemoryStore());
    const clock = createManualClock();
    const failures: unknown[] = [];
    const written = createStaticRegistry({ config, meshDomain: "mesh.internal" });
    const vips = await VipAllocator.load({ store, ranges: ["240.240.0.0/16", "2001:2::/48"], now: () => clock.now() });
    const own = createCatalog({ registries: [written], meshDomain: "mesh.internal", trustDomain: "mesh.internal", vips, clock, onVipFailure: (failure) => void failures.push(failure) });
    written.start();
    const web = resource("Service", "web", { selector: { app: "web" }, ports: [{ name: "http", port: 80 }] });
    const db = resource("Service", "db", { selector: { app: "db" }, ports: [{ name: "http", port: 80 }] });
    const vipsOf = (key: string): number | undefined => own.services.get(key)?.vips.length;
    store.isBroken = true;
    put(web);
    await own.settled();
    clock.advance(30_000);
    await own.settled();
    assert.deepEqual([failures.length, vipsOf("default/web")], [2, 0]);
    store.isBroken = false;
    put(db);
    await own.settled();
    assert.equal(vipsOf("default/db"), 2, "others need not wait");
    clock.advance(30_000);
    await own.settled();
    assert.equal(vipsOf("default/web"), 2);
    store.isBroken = true;
    drop(web);
    await own.settled();
    store.isBroken = false;
    clock.advance(30_000);
    await own.settled();
    const stored = (await store.list("vip/")).items.map(({ value }) => JSON.parse(value) as { service: string; releasedAt?: number });
    assert.equal(stored.find(({ service }) => service === "default/web")?.releasedAt, clock.now());
    await own.close();
    await written.close();
  });
});

function contentOf({ services, endpoints, findings, workloads, names }: Catalog) {
  const sorted = <T>(entries: ReadonlyMap<string, T>): [string, T][] => [...entries].sort(([a], [b]) => (a < b ? -1 : 1));
  return {
    services: sorted(services.entries()),
    domains: sorted(services.entries()).map(([key]) => names.domains(key, 80)),
    endpoints: sorted(endpoints.entries()),
    findings: sorted(findings.entries()),
    workloads: sorted(workloads.entries()),
  };
}

function groupOf(app: string): WorkloadTemplate {
  return { namespace: "default", name: app, labels: { app }, ports: {}, serviceAccount: app, locality: "", network: "", weight: 1 };
}

/** Counts how often anybody looks at a workload's labels. */
function counted(workload: Workload, count: () => void): Workload {
  const { labels } = workload;
  return Object.defineProperty({ ...workload }, "labels", {
    enumerable: true,
    get() {
      count();
      return labels;
    },
  });
}
