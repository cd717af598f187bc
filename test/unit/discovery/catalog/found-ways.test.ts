import assert from "node:assert/strict";
import fc from "fast-check";
import { type AnyResource, resourceKey } from "../../../../api/resource.ts";
import { SourceCollection } from "../../../../base/collection.ts";
import { type Catalog, createCatalog } from "../../../../discovery/catalog/catalog.ts";
import type { SamenessRule } from "../../../../discovery/catalog/sameness.ts";
import { VipAllocator } from "../../../../discovery/catalog/vip.ts";
import type { RegistryService } from "../../../../discovery/registry/registry.ts";
import { createStaticRegistry } from "../../../../discovery/registry/static/registry.ts";
import { createMemoryStore } from "../../../../store/memory.ts";
import type { Health } from "../../../../model/workload.ts";
import { foreignService, meshedWorkload, PlainRegistry, plainWorkload } from "../../../support/plain-registry.ts";
import { resource } from "../../../support/resource.ts";

const KEY = "east-shop/db";
/** Of a cluster whose service is an external name, of Consul, and of the mesh's own files and hosts. */
const RULE: SamenessRule = {
  of: [
    { registry: "east", namespace: "east-shop", name: "db" },
    { registry: "consul", namespace: "consul", name: "db" },
    { registry: "static", namespace: "default", name: "db" },
  ],
  allowPlaintext: true,
};

/** The parts that a catalog is made of, and what happens to them. */
class World {
  readonly config = new SourceCollection<AnyResource>();
  readonly hosts = new PlainRegistry("hosts");
  readonly consul = new PlainRegistry("consul");
  readonly east = new PlainRegistry("east");
  readonly #store = createMemoryStore();

  async start(rule: SamenessRule): Promise<Catalog> {
    const written = createStaticRegistry({ config: this.config, meshDomain: "mesh.internal" });
    written.start();
    return createCatalog({
      registries: [written, this.hosts, this.consul, this.east],
      sameness: [rule],
      meshDomain: "mesh.internal",
      trustDomain: "mesh.internal",
      vips: await VipAllocator.load({ store: this.#store, ranges: ["240.240.0.0/16", "2001:2::/48"], now: Date.now }),
      onVipFailure: (failure) => assert.fail(String(failure)),
    });
  }

  /** An external name, or none. */
  byName(...names: readonly string[]): void {
    const source = { registry: "east", object: "shop/db" };
    const workloads = names.map((name) => plainWorkload(name, { namespace: "east-shop", ports: { tcp: 3_306 }, source }));
    this.east.services.apply([["db", foreignService("east-shop", "db", { resolution: "dns", ports: [{ name: "tcp", number: 3_306, protocol: "TCP" }], backends: { kind: "explicit", workloads }, source })]]);
  }

  byAddress(addresses: readonly string[], health: Health = "healthy", changes: Partial<RegistryService> = {}): void {
    const workloads = addresses.map((address) => plainWorkload(address, { namespace: "consul", ports: { "": 3_306 }, health }));
    this.consul.services.apply([["db", foreignService("consul", "db", { ports: [{ name: "", number: 3_307, protocol: "TCP" }], backends: { kind: "explicit", workloads }, ...changes })]]);
  }

  put(...resources: readonly AnyResource[]): void {
    this.config.apply(resources.map((one) => [resourceKey(one), one]));
  }

  report(isThere: boolean): void {
    this.hosts.workloads.apply([["hosts/1", isThere ? meshedWorkload("1", { labels: { app: "db" }, ports: { tcp: 3_306 } }) : undefined]]);
  }
}

const SERVICE = resource("Service", "db", { selector: { app: "db" }, ports: [{ name: "tcp", port: 3_308 }] });

describe("a joined service whose members' endpoints are found in different ways", () => {
  let world: World;
  let catalog: Catalog;

  beforeEach(async () => {
    world = new World();
    catalog = await world.start(RULE);
  });

  afterEach(() => catalog.close());

  const restart = async (rule: SamenessRule): Promise<void> => {
    await catalog.close();
    catalog = await world.start(rule);
  };
  const places = (): string[] => [...new Set((catalog.endpoints.get(KEY) ?? []).map(({ address }) => address))];
  const way = (): string | undefined => catalog.services.get(KEY)?.resolution;
  const numbers = (): unknown => catalog.services.get(KEY)?.ports.map(({ number }) => number);
  const why = (): unknown => catalog.describe(KEY)?.endpoints.filter(({ servicePort }) => servicePort === 3_306).map(({ addresses, getsTraffic, reason }) => [addresses[0], getsTraffic, reason]);

  it("keeps the addresses of others where the first one is found by DNS, and says so of that", () => {
    world.byName("db.example.com");
    assert.deepEqual([way(), places()], ["dns", ["db.example.com"]]);
    world.byAddress(["10.0.0.8", "10.0.0.9"]);
    assert.deepEqual([way(), places()], ["static", ["10.0.0.8", "10.0.0.9"]]);
    const reason = "its endpoints are found by DNS: they serve only while none that is found by address, as those of consul dc1/db, can";
    assert.deepEqual(catalog.describe(KEY)?.members.map((member) => member.reason), [reason, undefined]);
    assert.deepEqual(why(), [["db.example.com", false, reason], ["10.0.0.8", true, "healthy"], ["10.0.0.9", true, "healthy"]]);
    assert.deepEqual(catalog.findings.get(KEY)?.notes, [`east shop/db: ${reason}`]);
    // The first one has its say in everything else, and its port is answered.
    assert.deepEqual([catalog.services.get(KEY)?.hostname, numbers()], ["db.east-shop.svc.mesh.internal", [3_306, 3_307]]);
  });

  it("goes to the name only while there is no address, with the same ports and virtual addresses", async () => {
    world.byName("db.example.com");
    world.byAddress(["10.0.0.8"]);
    await catalog.settled();
    const { ports, vips } = catalog.services.get(KEY) ?? assert.fail("no service");
    assert.equal(vips.length, 2);
    for (const health of ["unhealthy", "draining", "unknown"] as const) {
      world.byAddress(["10.0.0.8"], health);
      assert.deepEqual([way(), places()], ["static", ["10.0.0.8"]], health);
    }
    world.byAddress([]);
    await catalog.settled();
    assert.deepEqual([way(), places()], ["dns", ["db.example.com"]]);
    assert.deepEqual(why(), [["db.example.com", true, "healthy"]]);
    assert.deepEqual(catalog.findings.get(KEY)?.notes, ["consul dc1/db: its endpoints are found by address: they go before those of east shop/db, found by DNS, as soon as one of them can serve"]);
    assert.deepEqual([catalog.services.get(KEY)?.ports, catalog.services.get(KEY)?.vips], [ports, vips]);
    world.byAddress(["10.0.0.9"]);
    assert.deepEqual([way(), places()], ["static", ["10.0.0.9"]]);
    world.east.services.apply([["db", undefined]]);
    assert.deepEqual([way(), places(), catalog.findings.get(KEY)], ["static", ["10.0.0.9"], undefined]);
  });

  it("is found by address also where the first one is, whatever is behind it", () => {
    world.byAddress([]);
    world.consul.services.apply([["db", foreignService("consul", "db", { resolution: "dns", backends: { kind: "explicit", workloads: [plainWorkload("consul.example.com")] } })]]);
    world.put(SERVICE);
    assert.deepEqual([way(), places()], ["dns", ["consul.example.com"]]);
    world.report(true);
    assert.deepEqual([way(), places(), catalog.services.get(KEY)?.external], ["static", ["10.0.0.1"], false]);
    world.report(false);
    assert.deepEqual([way(), places(), catalog.services.get(KEY)?.external], ["dns", ["consul.example.com"], true]);
  });

  it("goes to no name that is not of the mesh while a group serves it, unless the rule allows that", async () => {
    await restart({ ...RULE, allowPlaintext: false });
    world.byName("db.example.com");
    world.put(SERVICE);
    assert.deepEqual(places(), ["db.example.com"]);
    world.hosts.templates.apply([["default/db", { namespace: "default", name: "db", labels: { app: "db" }, ports: {}, serviceAccount: "db", locality: "", network: "", weight: 1 }]]);
    assert.deepEqual(places(), []);
    assert.deepEqual(why(), [["db.example.com", false, "a plain endpoint of a service in the mesh gets no traffic"]]);
    world.report(true);
    assert.deepEqual([way(), places()], ["static", ["10.0.0.1"]]);
    await restart(RULE);
    assert.deepEqual([way(), places()], ["static", ["10.0.0.1"]]);
    world.report(false);
    assert.deepEqual([way(), places()], ["dns", ["db.example.com"]]);
  });

  it("goes where the caller dials as the first one says, and never as a later one does", async () => {
    const entry = resource("ServiceEntry", "db", { hosts: ["db.example.com"], ports: [{ number: 3_306, name: "tcp", protocol: "TCP" }], resolution: "NONE" });
    const [declared, inConsul] = [{ registry: "static", namespace: "default", name: "db.example.com" }, { registry: "consul", namespace: "consul", name: "db" }];
    world.put(entry);
    world.byAddress(["10.0.0.8"]);
    await restart({ of: [declared, inConsul], allowPlaintext: true });
    assert.equal(catalog.services.get("default/db.example.com")?.resolution, "passthrough");
    assert.match(catalog.findings.get("default/db.example.com")?.notes.join() ?? "", /found by address, those of static .* by where the caller dialed: none of its endpoints gets traffic/);
    await restart({ of: [inConsul, declared], allowPlaintext: true });
    for (const addresses of [["10.0.0.8"], []]) {
      world.byAddress(addresses);
      assert.deepEqual([catalog.services.get("consul/db")?.resolution, (catalog.endpoints.get("consul/db") ?? []).map(({ address }) => address)], ["static", addresses]);
    }
  });

  it("has its addresses whatever happened before, never beside a name, and is described as it is (property)", async () => {
    const events = fc.oneof(
      fc.record({ do: fc.constant("name" as const), there: fc.boolean() }),
      fc.record({ do: fc.constant("address" as const), there: fc.boolean() }),
      fc.record({ do: fc.constant("consul's name" as const), there: fc.boolean() }),
      fc.record({ do: fc.constant("report" as const), there: fc.boolean() }),
      fc.record({ do: fc.constant("serve" as const), there: fc.boolean() }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(events, { maxLength: 15 }), fc.boolean(), async (steps, allowPlaintext) => {
        const one = new World();
        const rule = { ...RULE, allowPlaintext };
        const followed = await one.start(rule);
        for (const step of steps) {
          if (step.do === "name") one.byName(...(step.there ? ["db.example.com"] : []));
          else if (step.do === "address") one.byAddress(step.there ? ["10.0.0.8"] : []);
          else if (step.do === "consul's name") one.byAddress(step.there ? ["consul.example.com"] : [], "healthy", { resolution: "dns" });
          else if (step.do === "report") one.report(step.there);
          else one.config.apply([[resourceKey(SERVICE), step.there ? SERVICE : undefined]]);
          const { endpoints = [], resolution } = { endpoints: followed.endpoints.get(KEY), resolution: followed.services.get(KEY)?.resolution };
          const told = followed.describe(KEY)?.endpoints ?? [];
          const served = (list: readonly { readonly servicePort: number; readonly port?: number; readonly address: string | undefined }[]): string[] => list.map(({ servicePort, address, port }) => `${servicePort} ${address}:${port}`).sort();
          assert.deepEqual(served(told.filter(({ port }) => port !== undefined).map(({ addresses, ...rest }) => ({ ...rest, address: addresses[0] }))), served(endpoints));
          const isAllNames = endpoints.every(({ address }) => address.endsWith(".example.com"));
          if (endpoints.length > 0) assert.deepEqual([isAllNames, endpoints.some(({ address }) => address.endsWith(".example.com"))], resolution === "dns" ? [true, true] : [false, false]);
          // Who could serve by address does.
          const couldServe = told.filter(({ addresses, reason }) => !addresses[0]?.endsWith(".example.com") && reason === "healthy");
          const hasAddress = told.some(({ addresses, meshed }) => !addresses[0]?.endsWith(".example.com") && (meshed || allowPlaintext));
          assert.equal(couldServe.length > 0 || !hasAddress, true);
        }
        const fresh = await one.start(rule);
        await Promise.all([followed.settled(), fresh.settled()]);
        for (const what of ["services", "endpoints", "findings"] as const) assert.deepEqual([...followed[what].entries()], [...fresh[what].entries()], what);
        assert.deepEqual(followed.describe(KEY), fresh.describe(KEY));
        await Promise.all([followed.close(), fresh.close()]);
      }),
      { numRuns: 150 },
    );
  });
});
