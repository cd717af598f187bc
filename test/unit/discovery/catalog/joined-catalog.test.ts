import assert from "node:assert/strict";
import fc from "fast-check";
import { type AnyResource, resourceKey } from "../../../../api/resource.ts";
import { SourceCollection } from "../../../../base/collection.ts";
import { type Catalog, createCatalog } from "../../../../discovery/catalog/catalog.ts";
import type { SamenessRule } from "../../../../discovery/catalog/sameness.ts";
import { VipAllocator } from "../../../../discovery/catalog/vip.ts";
import { createStaticRegistry } from "../../../../discovery/registry/static/registry.ts";
import type { RegistryService } from "../../../../discovery/registry/registry.ts";
import type { Workload } from "../../../../model/workload.ts";
import { createMemoryStore } from "../../../../store/memory.ts";
import type { KeyValueStore } from "../../../../store/key-value.ts";
import { foreignService, meshedWorkload, PlainRegistry, plainWorkload } from "../../../support/plain-registry.ts";
import { resource } from "../../../support/resource.ts";

const OF_ALL: SamenessRule = {
  of: [
    { registry: "static", namespace: "default", name: "*" },
    { registry: "consul", namespace: "consul", name: "*" },
    { registry: "east", namespace: "east-shop", name: "*" },
  ],
  allowPlaintext: true,
};

describe("services of several registries that a rule joins", () => {
  let store: KeyValueStore;
  let config: SourceCollection<AnyResource>;
  let hosts: PlainRegistry;
  let consul: PlainRegistry;
  let east: PlainRegistry;
  let catalog: Catalog;

  beforeEach(async () => {
    store = createMemoryStore();
    config = new SourceCollection();
    hosts = new PlainRegistry("hosts");
    consul = new PlainRegistry("consul");
    east = new PlainRegistry("east");
    catalog = await start([OF_ALL]);
  });

  afterEach(() => catalog.close());

  async function start(sameness: readonly SamenessRule[]): Promise<Catalog> {
    const written = createStaticRegistry({ config, meshDomain: "mesh.internal" });
    written.start();
    return createCatalog({
      registries: [written, hosts, consul, east],
      sameness,
      meshDomain: "mesh.internal",
      trustDomain: "mesh.internal",
      vips: await VipAllocator.load({ store, ranges: ["240.240.0.0/16", "2001:2::/48"], now: Date.now }),
      onVipFailure: (failure) => assert.fail(String(failure)),
    });
  }

  const restart = async (...sameness: SamenessRule[]): Promise<void> => {
    await catalog.settled();
    await catalog.close();
    catalog = await start(sameness);
  };
  const put = (...resources: AnyResource[]): void => config.apply(resources.map((one) => [resourceKey(one), one]));
  const register = (registry: PlainRegistry, ...services: RegistryService[]): void => registry.services.apply(services.map((one) => [one.name, one]));
  const allPlaces = (key: string): string[] => (catalog.endpoints.get(key) ?? []).map(({ servicePort, address, port }) => `${servicePort} ${address}:${port}`);
  /** At the port that the service has first by its owner's word, or at the given one. */
  const places = (key: string, servicePort = 8_080): string[] => allPlaces(key).filter((place) => place.startsWith(`${servicePort} `));
  const notes = (key = "default/reviews"): string => (catalog.findings.get(key)?.notes ?? []).join("\n");

  const reviews = resource("Service", "reviews", { selector: { app: "reviews" }, ports: [{ name: "http", port: 8_080, targetPort: 9_080 }] });
  const ofConsul = (changes: Partial<RegistryService> = {}): RegistryService => foreignService("consul", "reviews", { ports: [{ name: "", number: 9_082, protocol: "HTTP" }], ...changes });
  const ofEast = (changes: Partial<RegistryService> = {}): RegistryService => {
    const source = { registry: "east", object: "shop/reviews" };
    const pod = plainWorkload("10.244.0.1", { namespace: "east-shop", ports: { http: 8_081 }, source });
    return foreignService("east-shop", "reviews", {
      aliases: ["reviews.shop.svc.cluster.local"],
      ports: [{ name: "http", number: 80, protocol: "HTTP", targetPort: "http" }],
      backends: { kind: "explicit", workloads: [pod] },
      source,
      ...changes,
    });
  };
  const all = (): void => {
    put(reviews);
    hosts.workloads.apply([["hosts/1", meshedWorkload("1", { ports: { http: 9_080 } })]]);
    register(consul, ofConsul());
    register(east, ofEast());
  };

  it("are one, with the endpoints of all and none twice", () => {
    all();
    assert.deepEqual([...catalog.services.entries().keys()], ["default/reviews"]);
    assert.deepEqual(places("default/reviews"), ["8080 10.0.0.1:9080", "8080 10.244.0.1:8081", "8080 172.16.0.1:8080"]);
    register(consul, ofConsul({ backends: { kind: "explicit", workloads: [plainWorkload("10.0.0.1", { ports: { "": 9_080 } }), plainWorkload("10.244.0.1", { ports: { "": 8_081 } })] } }));
    assert.deepEqual(places("default/reviews"), ["8080 10.0.0.1:9080", "8080 10.244.0.1:8081"]);
    assert.equal(catalog.endpoints.get("default/reviews")?.[0]?.meshed, true, "the mesh's own word about its place");
  });

  it("are reached by every name that each of them had", () => {
    all();
    const owned = catalog.names.domains("default/reviews", 8_080);
    for (const name of ["reviews.default.svc.mesh.internal", "reviews.default", "reviews.consul.svc.mesh.internal", "reviews.consul", "reviews.service.consul", "reviews.east-shop.svc.mesh.internal", "reviews.shop.svc.cluster.local"]) {
      assert.ok(owned.includes(name), name);
    }
    assert.equal(catalog.services.get("default/reviews")?.hostname, "reviews.default.svc.mesh.internal");
  });

  it("are separate without a rule, and pending where one claims the other's place", async () => {
    await restart();
    all();
    assert.deepEqual([...catalog.services.entries().keys()].sort(), ["consul/reviews", "default/reviews", "east-shop/reviews"]);
    assert.deepEqual(places("default/reviews"), ["8080 10.0.0.1:9080"]);
    register(consul, ofConsul({ namespace: "default", hostname: "reviews.default.svc.mesh.internal" }));
    assert.deepEqual(places("default/reviews"), ["8080 10.0.0.1:9080"]);
    assert.deepEqual(catalog.findings.get("default/reviews")?.pending, [{ registry: "consul", object: "dc1/reviews" }]);
  });

  it("leave a claim that no rule is about pending, also one with precedence", () => {
    all();
    register(east, ofEast({ namespace: "default", hostname: "reviews.default.svc.mesh.internal" }));
    assert.deepEqual(catalog.findings.get("default/reviews")?.pending, [{ registry: "east", object: "shop/reviews" }]);
    assert.equal(places("default/reviews").length, 2);
    const byRuleOnly: SamenessRule = { of: [{ registry: "consul", namespace: "consul", name: "*" }, { registry: "east", namespace: "east-shop", name: "*" }], allowPlaintext: false };
    return restart(byRuleOnly).then(() => {
      put(resource("Service", "reviews", { selector: { app: "x" }, ports: [{ port: 1 }] }, { namespace: "consul" }));
      register(east, ofEast());
      assert.deepEqual(catalog.findings.get("consul/reviews")?.pending.map(({ registry }) => registry), ["static"]);
      assert.deepEqual(places("consul/reviews", 9_082), ["9082 10.244.0.1:8081", "9082 172.16.0.1:8080"]);
    });
  });

  it("take no plain endpoint beside meshed ones unless the rule allows it", async () => {
    await restart({ ...OF_ALL, allowPlaintext: false });
    all();
    assert.deepEqual(places("default/reviews"), ["8080 10.0.0.1:9080"]);
    assert.match(notes(), /consul dc1\/reviews: a plain endpoint of a service in the mesh gets no traffic/);
    hosts.workloads.apply([["hosts/1", undefined]]);
    assert.equal(places("default/reviews").length, 2, "nothing of it is in the mesh now");
  });

  it("are of the mesh where one is: an identity is expected of meshed endpoints", () => {
    register(consul, ofConsul());
    register(east, ofEast());
    assert.equal(catalog.services.get("default/reviews")?.external, true);
    put(reviews);
    assert.equal(catalog.services.get("default/reviews")?.external, false);
  });

  it("answer the port numbers of each, whichever their callers dial", () => {
    all();
    assert.deepEqual(catalog.services.get("default/reviews")?.ports.map(({ name, number, protocol }) => [name, number, protocol]), [["http-80", 80, "HTTP"], ["http", 8_080, "HTTP"], ["http-9082", 9_082, "HTTP"]]);
    for (const port of [80, 8_080, 9_082]) assert.equal(places("default/reviews", port).length, 3, String(port));
  });

  it("match ports by number, then name, then where each has one; and show what differs, with the winner", () => {
    put(resource("Service", "reviews", { selector: { app: "reviews" }, ports: [{ name: "http", port: 80 }, { name: "grpc", port: 90 }] }));
    register(
      east,
      ofEast({
        ports: [
          { name: "web", number: 80, protocol: "TCP", targetPort: "http" },
          { name: "grpc", number: 91, protocol: "GRPC", targetPort: "grpc" },
          { name: "metrics", number: 9_090, protocol: "HTTP", targetPort: "metrics" },
        ],
        backends: { kind: "explicit", workloads: [plainWorkload("10.244.0.1", { ports: { http: 1, grpc: 2, metrics: 3 }, source: { registry: "east", object: "p" } })] },
      }),
    );
    assert.deepEqual(catalog.services.get("default/reviews")?.ports.map(({ name, number, protocol }) => [name, number, protocol]), [["http", 80, "HTTP"], ["grpc", 90, "GRPC"], ["grpc-91", 91, "GRPC"], ["metrics", 9_090, "HTTP"]]);
    assert.deepEqual(allPlaces("default/reviews"), ["80 10.244.0.1:1", "90 10.244.0.1:2", "9090 10.244.0.1:3", "91 10.244.0.1:2"]);
    assert.match(notes(), /port 80 speaks TCP there; the HTTP of static .* holds/);
  });

  it("name every port of several", () => {
    register(consul, ofConsul());
    register(east, ofEast({ ports: [{ name: "", number: 80, protocol: "HTTP" }, { name: "b", number: 81, protocol: "TCP" }] }));
    assert.deepEqual(catalog.services.get("default/reviews")?.ports.map(({ name }) => name), ["http-80", "b", "http-9082"]);
  });

  it("are found in one way: who is found by DNS serves only while there is no address, and a note says so", () => {
    put(reviews);
    register(consul, ofConsul({ resolution: "dns", backends: { kind: "explicit", workloads: [plainWorkload("db.example.com")] } }));
    assert.deepEqual(places("default/reviews"), ["8080 db.example.com:9082"]);
    register(east, ofEast());
    assert.deepEqual(places("default/reviews"), ["8080 10.244.0.1:8081"]);
    assert.match(notes(), /found by DNS: they serve only while none that is found by address, as those of static .*, can/);
  });

  it("hear the worst of what registries say about one place, and nothing from who does not know", () => {
    all();
    const health = (): string[] => (catalog.endpoints.get("default/reviews") ?? []).filter(({ servicePort }) => servicePort === 8_080).map(({ address, health: one }) => `${address} ${one}`).filter((text) => text.startsWith("10.0.0.1"));
    const told = (word: "healthy" | "unhealthy" | "draining" | "unknown"): void =>
      register(consul, ofConsul({ backends: { kind: "explicit", workloads: [plainWorkload("10.0.0.1", { ports: { "": 9_080 }, health: word })] } }));
    for (const [word, result] of [["unknown", "healthy"], ["unhealthy", "unhealthy"], ["draining", "draining"], ["healthy", "healthy"]] as const) {
      told(word);
      assert.deepEqual(health(), [`10.0.0.1 ${result}`], word);
    }
  });

  it("hear of a registry the one that serves, of several that it has at one place", () => {
    all();
    const ofPlace = (key: string, health: "healthy" | "unhealthy"): Workload => ({ ...plainWorkload("10.0.0.1", { ports: { "": 9_080 }, health }), key: `consul/${key}` });
    register(consul, ofConsul({ backends: { kind: "explicit", workloads: [ofPlace("a-machine-that-is-gone", "unhealthy"), ofPlace("the-new-one", "healthy")] } }));
    assert.deepEqual(catalog.endpoints.get("default/reviews")?.filter(({ address, servicePort }) => address === "10.0.0.1" && servicePort === 8_080).map(({ health }) => health), ["healthy"]);
  });

  it("are the one place also where an instance is told by another of its addresses", () => {
    put(reviews);
    hosts.workloads.apply([["hosts/1", meshedWorkload("1", { ports: { http: 9_080 }, addresses: ["10.0.0.1", "fd77::1"] })]]);
    register(consul, ofConsul({ backends: { kind: "explicit", workloads: [plainWorkload("fd77::1", { ports: { "": 9_080 } })] } }));
    assert.deepEqual(places("default/reviews"), ["8080 10.0.0.1:9080"]);
  });

  it("live on while any of them is there, under the first one's name", () => {
    all();
    config.apply([[resourceKey(reviews), undefined]]);
    assert.equal(catalog.services.get("default/reviews")?.hostname, "reviews.default.svc.mesh.internal");
    assert.deepEqual(places("default/reviews", 9_082), ["9082 10.244.0.1:8081", "9082 172.16.0.1:8080"]);
    consul.services.apply([["reviews", undefined]]);
    assert.deepEqual(allPlaces("default/reviews"), ["80 10.244.0.1:8081"]);
    east.services.apply([["reviews", undefined]]);
    assert.equal(catalog.services.get("default/reviews"), undefined);
  });

  it("keep the virtual addresses that they had before they were joined, for who looked them up", async () => {
    await restart();
    all();
    await catalog.settled();
    const before = ["default/reviews", "consul/reviews"].flatMap((key) => catalog.services.get(key)?.vips ?? []);
    await restart(OF_ALL);
    await catalog.settled();
    const after = catalog.services.get("default/reviews")?.vips ?? [];
    assert.deepEqual(before.filter((vip) => !after.includes(vip)), []);
    assert.deepEqual(after.slice(0, 2), before.slice(0, 2));
    consul.services.apply([["reviews", undefined]]);
    await catalog.settled();
    assert.equal(catalog.services.get("default/reviews")?.vips.includes(before[2] ?? ""), false);
    const released = (await store.list("vip/")).items.map(({ value }) => JSON.parse(value) as { service: string; releasedAt?: number });
    assert.notEqual(released.find(({ service }) => service === "consul/reviews")?.releasedAt, undefined);
  });

  it("take no virtual address of another service that has such a name", async () => {
    const another = resource("Service", "reviews", { selector: { app: "other" }, ports: [{ name: "http", port: 8_080 }] }, { namespace: "zone" });
    const rule: SamenessRule = { of: [{ registry: "static", namespace: "default", name: "*" }, { registry: "consul", namespace: "zone", name: "*" }], allowPlaintext: false };
    await restart(rule);
    put(reviews, another);
    await catalog.settled();
    const own = catalog.services.get("zone/reviews")?.vips ?? [];
    assert.equal(own.length, 2);
    register(consul, foreignService("zone", "reviews"));
    await catalog.settled();
    assert.deepEqual(catalog.services.get("zone/reviews")?.vips, own);
    assert.equal(catalog.names.ownerOf(own[0] ?? ""), "zone/reviews");
  });

  it("take no name of another registry by the precedence of the first one", async () => {
    const native = "reviews.shop.svc.cluster.local";
    await restart({ of: [{ registry: "static", namespace: "default", name: "*" }, { registry: "east", namespace: "east-shop", name: "*" }], allowPlaintext: true });
    put(reviews);
    // Consul stands before east, so that it is the first of the two to have it.
    register(consul, ofConsul({ aliases: [native] }));
    register(east, ofEast());
    assert.equal(catalog.names.ownerOf(native), "consul/reviews");
    assert.match(notes(), new RegExp(`the name ${native} belongs to consul/reviews`));
    consul.services.apply([["reviews", undefined]]);
    assert.equal(catalog.names.ownerOf(native), "default/reviews");
  });

  it("keep the address of before also while another registry has the same name in the same namespace", async () => {
    const [of1, of2] = [ofConsul(), ofConsul({ source: { registry: "east", object: "dc2/reviews" } })];
    await restart();
    register(consul, of1);
    await catalog.settled();
    const [before] = catalog.services.get("consul/reviews")?.vips ?? [];
    const rule: SamenessRule = {
      of: [
        { registry: "static", namespace: "default", name: "*" },
        { registry: "consul", namespace: "consul", name: "*" },
        { registry: "east", namespace: "consul", name: "*" },
      ],
      allowPlaintext: true,
    };
    register(east, of2);
    await restart(rule);
    assert.ok(catalog.services.get("default/reviews")?.vips.includes(before ?? ""));
    consul.services.apply([["reviews", undefined]]);
    await catalog.settled();
    register(east, ofConsul({ source: of2.source, notes: ["other"] }));
    await catalog.settled();
    assert.ok(catalog.services.get("default/reviews")?.vips.includes(before ?? ""), "one is left");
    east.services.apply([["reviews", undefined]]);
    await catalog.settled();
    const released = (await store.list("vip/")).items.map(({ value }) => JSON.parse(value) as { service: string; releasedAt?: number });
    assert.ok(released.find(({ service }) => service === "consul/reviews")?.releasedAt !== undefined, "none is left");
  });

  it("join a host that somebody declared under its own name", async () => {
    await restart({ of: [{ registry: "static", namespace: "default", name: "api.example.com" }, { registry: "consul", namespace: "consul", name: "api" }], allowPlaintext: false });
    register(consul, foreignService("consul", "api"));
    assert.equal(catalog.services.get("default/api.example.com")?.hostname, "api.example.com");
    put(resource("ServiceEntry", "api", { hosts: ["api.example.com"], ports: [{ name: "http", number: 80, protocol: "HTTP" }], resolution: "STATIC", endpoints: [{ address: "192.0.2.7" }] }));
    assert.deepEqual(allPlaces("default/api.example.com"), ["80 172.16.0.1:8080", "80 192.0.2.7:80"]);
  });

  it("leave a host to who declared it in the mesh's own configuration, before a cluster that may declare it too", () => {
    const declared = (namespace: string): AnyResource => resource("ServiceEntry", "api", { hosts: ["api.example.com"], ports: [{ name: "http", number: 80, protocol: "HTTP" }], resolution: "DNS" }, { namespace });
    put({ ...declared("east-shop"), confinedTo: "east-" });
    assert.equal(catalog.names.ownerOf("api.example.com"), "east-shop/api.example.com");
    put(declared("prod"));
    assert.equal(catalog.names.ownerOf("api.example.com"), "prod/api.example.com");
  });

  it("have such a name by no better right while nobody declares it there", async () => {
    await restart({ of: [{ registry: "static", namespace: "default", name: "api.example.com" }, { registry: "consul", namespace: "consul", name: "api" }], allowPlaintext: false });
    put(resource("ServiceEntry", "api", { hosts: ["api.example.com"], ports: [{ name: "http", number: 80, protocol: "HTTP" }], resolution: "DNS" }, { namespace: "prod" }));
    register(consul, foreignService("consul", "api"));
    assert.equal(catalog.names.ownerOf("api.example.com"), "prod/api.example.com");
    assert.match(notes("default/api.example.com"), /the name api\.example\.com belongs to prod/);
  });

  it("are explained: who says what, and why each endpoint does or does not serve", async () => {
    await restart({ ...OF_ALL, allowPlaintext: false });
    all();
    await catalog.settled();
    const { members, ports, endpoints, names, isInForce } = catalog.describe("default/reviews") ?? assert.fail("no description");
    assert.equal(isInForce, true);
    assert.deepEqual(members.map(({ source, ownKey, rule }) => [source.registry, ownKey, rule]), [["static", "default/reviews", 0], ["consul", "consul/reviews", 0], ["east", "east-shop/reviews", 0]]);
    assert.deepEqual(ports.map(({ number, source }) => [number, source.registry]), [[80, "east"], [8_080, "static"], [9_082, "consul"]]);
    assert.deepEqual(endpoints.filter(({ servicePort }) => servicePort === 8_080).map(({ addresses, getsTraffic, reason }) => [addresses[0], getsTraffic, reason]), [
      ["10.0.0.1", true, "healthy"],
      ["172.16.0.1", false, "a plain endpoint of a service in the mesh gets no traffic"],
      ["10.244.0.1", false, "a plain endpoint of a service in the mesh gets no traffic"],
    ]);
    assert.equal(names[0], "reviews.default.svc.mesh.internal");
    await restart();
    assert.deepEqual(catalog.describe("default/reviews")?.namesakes.map(({ ownKey }) => ownKey).sort(), ["consul/reviews", "east-shop/reviews"]);
    assert.equal(catalog.describe("default/nobody"), undefined);
  });

  it("are in the same catalog as after a fresh join, whatever the events (property)", async () => {
    const app = fc.constantFrom("a", "b");
    const event = fc.oneof(
      fc.record({ do: fc.constant("serve" as const), app, there: fc.boolean() }),
      fc.record({ do: fc.constant("report" as const), app, there: fc.boolean() }),
      fc.record({ do: fc.constant("consul" as const), app, there: fc.boolean() }),
      fc.record({ do: fc.constant("named" as const), app, there: fc.boolean() }),
      fc.record({ do: fc.constant("east" as const), app, there: fc.boolean() }),
      fc.record({ do: fc.constant("select" as const), app, there: fc.boolean() }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(event, { maxLength: 25 }), async (events) => {
        store = createMemoryStore();
        config = new SourceCollection();
        hosts = new PlainRegistry("hosts");
        consul = new PlainRegistry("consul");
        east = new PlainRegistry("east");
        const rules = [{ ...OF_ALL, except: ["b"] }];
        const followed = await start(rules);
        for (const one of events) {
          const service = resource("Service", one.app, { selector: { app: one.app }, ports: [{ port: 80 }] });
          const selecting = { ...resource("Service", `of-${one.app}`, { selector: { app: "reviews" }, ports: [{ port: 80 }] }, { namespace: "consul" }) };
          const selector = { ...selecting, metadata: { ...selecting.metadata, annotations: { "ironmesh.io/registries": "consul" } } };
          if (one.do === "serve") config.apply([[resourceKey(service), one.there ? service : undefined]]);
          else if (one.do === "report") hosts.workloads.apply([[`hosts/${one.app}`, one.there ? meshedWorkload(one.app, { key: `hosts/${one.app}`, labels: { app: one.app }, addresses: ["10.0.0.9"] }) : undefined]]);
          else if (one.do === "consul") consul.services.apply([[one.app, one.there ? foreignService("consul", one.app) : undefined]]);
          else if (one.do === "named") consul.services.apply([[one.app, one.there ? foreignService("consul", one.app, { resolution: "dns", backends: { kind: "explicit", workloads: [plainWorkload("db.example.com")] } }) : undefined]]);
          else if (one.do === "east") east.services.apply([[one.app, one.there ? ofEast({ name: one.app }) : undefined]]);
          else config.apply([[resourceKey(selector), one.there ? selector : undefined]]);
        }
        const fresh = await start(rules);
        await Promise.all([followed.settled(), fresh.settled()]);
        assert.deepEqual(contentOf(followed), contentOf(fresh));
        for (const [key, endpoints] of followed.endpoints.entries()) {
          const told = (followed.describe(key)?.endpoints ?? []).flatMap(({ servicePort, addresses, port }) => (port === undefined ? [] : [`${servicePort} ${addresses[0]}:${port}`]));
          assert.deepEqual(told.sort(), endpoints.map(({ servicePort, address, port }) => `${servicePort} ${address}:${port}`).sort(), "described as it is");
        }
        await Promise.all([followed.close(), fresh.close()]);
      }),
      { numRuns: 150 },
    );
  });
});

function contentOf({ services, endpoints, findings, names }: Catalog) {
  const sorted = <T>(entries: ReadonlyMap<string, T>): [string, T][] => [...entries].sort(([a], [b]) => (a < b ? -1 : 1));
  return {
    services: sorted(services.entries()),
    domains: sorted(services.entries()).map(([key]) => names.domains(key, 80)),
    endpoints: sorted(endpoints.entries()),
    findings: sorted(findings.entries()),
  };
}
