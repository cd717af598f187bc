import assert from "node:assert/strict";
import fc from "fast-check";
import { type Catalog, createCatalog } from "../../../../discovery/catalog/catalog.ts";
import type { SamenessRule } from "../../../../discovery/catalog/sameness.ts";
import { VipAllocator } from "../../../../discovery/catalog/vip.ts";
import type { Registry, RegistryService } from "../../../../discovery/registry/registry.ts";
import { createMemoryStore } from "../../../../store/memory.ts";
import { createManualClock } from "../../../support/manual-clock.ts";
import { foreignService, meshedWorkload, PlainRegistry, plainWorkload } from "../../../support/plain-registry.ts";
import { createSlices } from "../../../support/push-slices.ts";

/** `a` and `b` of all are one; `c` and `d` are not. */
const RULE: SamenessRule = {
  of: [
    { registry: "files", namespace: "default", name: "*" },
    { registry: "consul", namespace: "consul", name: "*" },
    { registry: "east", namespace: "east-shop", name: "*" },
  ],
  services: ["a", "b"],
  allowPlaintext: true,
};
const PACE = { atOnce: 1, atATime: 1 };
const NAMESPACES = { files: "default", consul: "consul", east: "east-shop" } as const;
type Name = keyof typeof NAMESPACES;

/** What registries say, by registry and id. */
type Content = Map<string, RegistryService>;

describe("services of registries that come at once", () => {
  let slices: ReturnType<typeof createSlices>;
  let hosts: PlainRegistry;
  let registries: Readonly<Record<Name, PlainRegistry>>;
  let catalog: Catalog;

  beforeEach(async () => {
    slices = createSlices(createManualClock());
    hosts = new PlainRegistry("hosts");
    registries = { files: new PlainRegistry("files"), consul: new PlainRegistry("consul", true), east: new PlainRegistry("east", true) };
    catalog = await start([registries.files, hosts, registries.consul, registries.east]);
  });
  afterEach(() => catalog.close());

  const start = async (all: readonly Registry[]): Promise<Catalog> =>
    createCatalog({
      registries: all,
      sameness: [RULE],
      meshDomain: "mesh.internal",
      trustDomain: "mesh.internal",
      vips: await VipAllocator.load({ store: createMemoryStore(), ranges: ["240.240.0.0/16", "2001:2::/48"], now: () => 0 }),
      onVipFailure: (failure) => assert.fail(String(failure)),
      clock: slices.clock,
      pace: PACE,
    });
  const tell = (registry: Name, services: Readonly<Record<string, RegistryService | undefined>>): void => registries[registry].services.apply(Object.entries(services));
  const own = (registry: Name, name: string, changes: Partial<RegistryService> = {}): RegistryService =>
    foreignService(NAMESPACES[registry], name, { aliases: [`${name}.service.${registry}`], source: { registry, object: `dc1/${name}` }, ...changes });
  const served = (address: string): Pick<RegistryService, "backends"> => ({ backends: { kind: "explicit", workloads: [plainWorkload(address, { ports: { "": 8_080 } })] } });
  const many = (registry: Name, count: number): Record<string, RegistryService> =>
    Object.fromEntries(Array.from({ length: count }, (_, at) => [`n${at}`, own(registry, `n${at}`)]));
  const places = (key: string): string[] => (catalog.endpoints.get(key) ?? []).map(({ address }) => address);
  const runAll = (): void => {
    while (slices.runOne());
  };

  it("are shown one after another, each with its endpoints, name and all", () => {
    tell("consul", many("consul", 5));
    assert.deepEqual([...catalog.services.entries().keys()], ["consul/n0"]);
    slices.runOne();
    assert.deepEqual([...catalog.services.entries().keys()], ["consul/n0", "consul/n1"]);
    assert.deepEqual([places("consul/n1"), catalog.names.ownerOf("n1.service.consul"), catalog.names.ownerOf("n2.service.consul")], [["172.16.0.1"], "consul/n1", undefined]);
    runAll();
    assert.equal(catalog.services.entries().size, 5);
    assert.equal(catalog.waiting().size, 0);
  });

  it("are all shown when somebody waits for it", async () => {
    tell("consul", many("consul", 5));
    await catalog.settled();
    assert.deepEqual([...catalog.services.entries().values()].map(({ vips }) => vips.length), [2, 2, 2, 2, 2]);
  });

  it("hold nobody's endpoints back", () => {
    tell("consul", { old: own("consul", "old") });
    hosts.workloads.apply([["hosts/1", meshedWorkload("1", { labels: { app: "web" } })]]);
    tell("files", { web: own("files", "web", { backends: { kind: "selector", labels: { app: "web" } } }) });
    tell("consul", many("consul", 5));
    tell("consul", { old: own("consul", "old", served("172.16.0.9")) });
    assert.deepEqual(places("consul/old"), ["172.16.0.9"]);
    hosts.workloads.apply([["hosts/1", undefined]]);
    assert.deepEqual(places("default/web"), []);
    assert.equal(catalog.waiting().size, 4);
  });

  it("are never shown where they are gone before their turn", () => {
    const seen = new Set<string>();
    catalog.services.subscribe((changes) => changes.forEach(({ key }) => seen.add(key)));
    tell("consul", many("consul", 5));
    tell("consul", { n3: undefined });
    runAll();
    assert.deepEqual([...seen].sort(), ["consul/n0", "consul/n1", "consul/n2", "consul/n4"]);
  });

  it("are shown with all that a rule joins to them, whoever told it", () => {
    tell("consul", { ...many("consul", 2), a: own("consul", "a", served("172.16.0.2")) });
    tell("east", { ...many("east", 2), a: own("east", "a", served("172.16.0.3")) });
    const seen: string[][] = [];
    catalog.endpoints.subscribe((changes) => changes.forEach(({ key, after = [] }) => key === "default/a" && seen.push(after.map(({ address }) => address))));
    runAll();
    assert.deepEqual(seen, [["172.16.0.2", "172.16.0.3"]]);
  });

  it("leave no moment in which nobody has a name that goes from one to another", () => {
    const alias = "shop.example.com";
    tell("consul", { old: own("consul", "old", { aliases: [alias] }) });
    const owners: (string | undefined)[] = [];
    catalog.names.subscribe(({ hosts: changed }) => changed.has(alias) && owners.push(catalog.names.ownerOf(alias)));
    tell("consul", { old: undefined, ...many("consul", 3), next: own("consul", "next", { aliases: [alias] }) });
    runAll();
    assert.deepEqual(owners, ["consul/next"]);
    assert.equal(catalog.awaitingAddress.get("consul/next"), undefined, "it is served at once");
  });

  it("take no name from one that loses its service, for one that goes in another turn", () => {
    const aliases = ["shop.example.com"];
    tell("east", { c: foreignService("consul", "c", { aliases, source: { registry: "east", object: "c" } }), d: own("east", "d", { aliases }) });
    runAll();
    assert.equal(catalog.names.ownerOf("shop.example.com"), "consul/c");
    const owners: (string | undefined)[] = [];
    catalog.names.subscribe(({ hosts: changed }) => changed.has("shop.example.com") && owners.push(catalog.names.ownerOf("shop.example.com")));
    tell("consul", { ...many("consul", 2), c: own("consul", "c") });
    tell("east", { ...many("east", 2), d: undefined });
    runAll();
    assert.deepEqual(owners, [undefined]);
  });

  it("are shown at once where a selector sees their instances", () => {
    const selector: RegistryService = own("files", "all", { backends: { kind: "selector", labels: { app: "x" }, registries: ["consul"] } });
    const instance = (at: number): RegistryService =>
      foreignService("default", `m${at}`, { aliases: [], backends: { kind: "explicit", workloads: [plainWorkload(`172.16.1.${at}`, { namespace: "default", labels: { app: "x" }, ports: { "": 80 }, source: { registry: "consul", object: `i${at}` } })] } });
    const seen: number[] = [];
    catalog.endpoints.subscribe((changes) => changes.forEach(({ key, after = [] }) => key === "default/all" && seen.push(after.length)));
    tell("consul", { ...many("consul", 2), m1: instance(1), m2: instance(2), m3: instance(3) });
    tell("files", { all: selector });
    assert.deepEqual(seen, [3], "it comes while they wait");
    tell("consul", { m1: undefined, m2: undefined, m3: undefined });
    assert.deepEqual(seen, [3, 0], "they go");
    tell("consul", { ...many("east", 2), m1: instance(1), m2: instance(2), m3: instance(3) });
    runAll();
    assert.deepEqual(seen, [3, 0, 3], "they come");
  });

  it("are shown at once where a registry tells them with what refers to them", () => {
    tell("files", many("files", 5));
    assert.equal(catalog.services.entries().size, 5);
  });

  it("keep the addresses that they had while they wait, when addresses of services that are gone are released", async () => {
    const clock = createManualClock();
    slices = createSlices(clock);
    const vips = await VipAllocator.load({ store: createMemoryStore(), ranges: ["240.240.0.0/16", "2001:2::/48"], now: () => 0 });
    await vips.allocate(["consul/n4"]);
    const followed = createCatalog({ registries: [registries.consul], meshDomain: "mesh.internal", trustDomain: "mesh.internal", vips, onVipFailure: (failure) => assert.fail(String(failure)), clock: slices.clock, pace: PACE });
    tell("consul", many("consul", 5));
    clock.advance(60_000);
    await new Promise(setImmediate);
    assert.deepEqual(vips.held("consul/n4"), vips.get("consul/n4"));
    await followed.close();
  });

  it("are at each moment what a catalog shows that takes all at once, of what was told but for what waits, and nothing that belongs together is apart (property)", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(event, { maxLength: 30 }), async (events) => {
        slices = createSlices(createManualClock());
        hosts = new PlainRegistry("hosts");
        registries = { files: new PlainRegistry("files"), consul: new PlainRegistry("consul", true), east: new PlainRegistry("east", true) };
        const followed = await start([registries.files, hosts, registries.consul, registries.east]);
        let shown: Content = new Map();
        const told = (): Content =>
          new Map(Object.entries(registries).flatMap(([registry, { services }]) => [...services.entries()].map(([id, service]) => [`${registry} ${id}`, service] as const)));
        /** Ids with the registry's name in place of its precedence. */
        const waiting = (): Set<string> => new Set([...followed.waiting()].map(([id, { registry }]) => `${registry} ${id.slice(id.indexOf(" ") + 1)}`));
        const check = async (): Promise<void> => {
          const next = told();
          const left = waiting();
          const changed = new Set([...shown.keys(), ...next.keys()].filter((id) => shown.get(id) !== next.get(id)));
          const taken = [...changed].filter((id) => !left.has(id));
          const sayOf = (id: string): Set<string> => new Set([shown.get(id), next.get(id)].flatMap((service) => (service === undefined ? [] : saysOf(service))));
          const moved = new Set(taken.flatMap((id) => [...sayOf(id)]));
          for (const id of left) for (const one of sayOf(id)) assert.ok(!moved.has(one), `${id} waits, and ${one} has changed`);
          shown = new Map([...[...shown].filter(([id]) => left.has(id)), ...[...next].filter(([id]) => !left.has(id))]);
          const fresh = await startOver(shown);
          assert.deepEqual(contentOf(followed), contentOf(fresh));
          await fresh.close();
        };
        const startOver = (content: Content): Promise<Catalog> =>
          start([registries.files, registries.consul, registries.east].flatMap((registry, at) => {
            const copy = new PlainRegistry(registry.name);
            copy.services.apply([...content].flatMap(([id, service]) => (id.startsWith(`${registry.name} `) ? [[id.slice(registry.name.length + 1), service] as const] : [])));
            return at === 0 ? [copy, hosts] : [copy];
          }));
        for (const one of events) {
          if (one.do === "tell") tell(one.registry, Object.fromEntries(one.services.map(([id, make]) => [id, make && made(make, one.registry)])));
          else if (one.do === "host") hosts.workloads.apply([[`hosts/${one.id}`, one.app === undefined ? undefined : meshedWorkload(one.id, { labels: { app: one.app }, ports: { "": 8_080 } })]]);
          else if (one.do === "turn") slices.runOne();
          else await followed.settled();
          await check();
        }
        while (slices.runOne()) await check();
        assert.deepEqual([...shown].sort(byKey), [...told()].sort(byKey));
        await followed.settled();
        const fresh = await startOver(shown);
        await fresh.settled();
        for (const [key, { vips }] of followed.services.entries()) assert.equal(vips.length > 0, (fresh.services.get(key)?.vips.length ?? 0) > 0, key);
        await fresh.close();
        await followed.close();
      }),
      { numRuns: 200 },
    );
  });
});

const name = fc.constantFrom("a", "b", "c", "d");
const described = fc.record({
  name,
  inDefault: fc.boolean(),
  aliases: fc.uniqueArray(fc.constantFrom("x.example.com", "y.example.com", "a.default", "a.default.svc"), { maxLength: 1 }),
  isDeclared: fc.boolean(),
  brings: fc.boolean(),
  address: fc.constantFrom("172.16.0.1", "172.16.0.2"),
  port: fc.constantFrom(80, 81),
  selects: fc.constantFrom(undefined, undefined, undefined, "consul", "none"),
});
/** The service as a registry tells it. */
function made(one: typeof described extends fc.Arbitrary<infer T> ? T : never, registry: Name): RegistryService {
  const namespace = one.inDefault ? "default" : NAMESPACES[registry];
  const source = { registry, object: `dc1/${one.name}` };
  const labels = { app: one.name };
  const workload = { ...plainWorkload(one.address, { namespace, labels, ports: { "": 8_080 }, source }), key: `${registry}/${namespace}/${one.name}/${one.address}` };
  const isSelector = registry === "files" && one.selects !== undefined;
  return foreignService(namespace, one.name, {
    // Somebody may write down the name of another service.
    ...(one.isDeclared ? { claim: "declared" as const, hostname: "b.default.svc.mesh.internal" } : {}),
    aliases: one.aliases,
    addresses: one.brings ? ["10.9.0.1"] : [],
    ports: [{ name: "", number: one.port, protocol: "HTTP" }],
    source,
    backends: isSelector ? { kind: "selector", labels, ...(one.selects === "consul" ? { registries: ["consul"] } : {}) } : { kind: "explicit", workloads: [workload] },
  });
}
const id = fc.constantFrom("1", "2", "3", "4", "5", "6");
const event = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant("tell" as const), registry: fc.constantFrom<Name>("files", "consul", "consul", "east", "east"), services: fc.uniqueArray(fc.tuple(id, fc.option(described, { nil: undefined, freq: 3 })), { minLength: 1, maxLength: 6, selector: ([one]) => one }) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("turn" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("host" as const), id: fc.constantFrom("1", "2"), app: fc.option(name, { nil: undefined }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("settle" as const) }) },
);

/** The key of the service that it is part of, and all that it claims. */
function saysOf({ namespace, name: called, hostname, aliases, addresses, source: { registry } }: RegistryService): string[] {
  const isJoined = ["a", "b"].includes(called) && namespace === NAMESPACES[registry as Name];
  const short = hostname.replace(".svc.mesh.internal", "");
  return [`${namespace}/${called}`, `${isJoined ? "default" : namespace}/${called}`, hostname, short, `${short}.svc`, ...aliases, ...addresses];
}

/** All but virtual addresses, which come later. */
function contentOf({ services, endpoints, findings, names }: Catalog) {
  const isVirtual = (text: string): boolean => text.startsWith("240.240.") || text.startsWith("2001:2:");
  const sorted = <T>(entries: ReadonlyMap<string, T>): [string, T][] => [...entries].sort(byKey);
  return {
    services: sorted(services.entries()).map(([key, one]) => [key, { ...one, vips: one.vips.filter((vip) => !isVirtual(vip)) }]),
    domains: sorted(services.entries()).map(([key]) => names.domains(key, 80).filter((host) => !isVirtual(host))),
    endpoints: sorted(endpoints.entries()),
    findings: sorted(findings.entries()),
  };
}

function byKey([left]: readonly [string, unknown], [right]: readonly [string, unknown]): number {
  return left < right ? -1 : 1;
}
