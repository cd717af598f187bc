import assert from "node:assert/strict";
import { SourceCollection } from "../../../../base/collection.ts";
import { systemClock } from "../../../../base/clock.ts";
import type { Clock } from "../../../../base/clock.ts";
import { keepLastGood } from "../../../../discovery/registry/last-good.ts";
import type { Admission, LastGoodRegistry } from "../../../../discovery/registry/last-good.ts";
import type { Registry, RegistryService } from "../../../../discovery/registry/registry.ts";
import type { Health, Workload } from "../../../../model/workload.ts";
import { storeLimits } from "../../../../store/key-value.ts";
import type { KeyValueStore } from "../../../../store/key-value.ts";
import { createMemoryStore } from "../../../../store/memory.ts";
import { createManualClock } from "../../../support/manual-clock.ts";
import { plainWorkload } from "../../../support/plain-registry.ts";
import { waitUntil } from "../../../support/wait-until.ts";

const EVERYTHING: Admission = { scope: "dc1", admit: (_id, service) => service };

/** A registry that says something when the test lets it. */
interface Peer {
  readonly registry: LastGoodRegistry;
  readonly services: SourceCollection<RegistryService>;
  sync(): void;
}

describe("last good content of a registry", () => {
  let store: KeyValueStore;

  beforeEach(() => {
    store = createMemoryStore();
  });

  async function open({ clock = systemClock, ageMs, bug, admission = EVERYTHING }: { readonly clock?: Clock; readonly ageMs?: () => number; readonly bug?: "start" | "status"; readonly admission?: Admission } = {}): Promise<Peer> {
    const services = new SourceCollection<RegistryService>();
    let sync = (): void => {};
    const registry = keepLastGood(
      (onSynced): Registry => {
        sync = onSynced;
        return {
          name: "consul",
          services,
          workloads: new SourceCollection(),
          templates: new SourceCollection(),
          start() {
            if (bug === "start") throw new TypeError("not a function");
          },
          close() {},
          status: () => bug === "status" ? assert.fail("a bug") : ({ name: "consul", kind: "consul", synced: false, services: 0, workloads: 0, notes: [], ...(ageMs === undefined ? {} : { ageMs: ageMs() }) }),
        };
      },
      { kind: "consul", store, clock, admission },
    );
    await registry.load();
    return { registry, services, sync };
  }

  for (const bug of ["start", "status"] as const) {
    it(`serves on when the registry throws in ${bug}, and says so`, async () => {
      const first = await open();
      first.services.apply([["web", service("web", "healthy")]]);
      first.sync();
      await first.registry.close();
      const { registry } = await open({ bug });
      registry.start();
      const { name, synced, services, lastError } = registry.status();
      assert.deepEqual([name, synced, services, lastError?.code], ["consul", true, 1, "MESH_REGISTRY_BROKEN"]);
      assert.match(lastError?.message ?? "", /^the registry threw: (not a function|a bug)$/);
      await registry.close();
    });
  }

  it("is there for the next process, with health that nobody vouches for", async () => {
    const first = await open();
    first.services.apply([["web", service("web", "healthy")], ["db/é", service("db", "unhealthy")]]);
    first.sync();
    await first.registry.close();
    const next = await open();
    assert.equal(next.registry.status().synced, true);
    assert.equal(next.registry.status().notes.length, 1);
    assert.deepEqual(next.registry.services.get("web"), service("web", "unknown"));
    assert.deepEqual(next.registry.services.get("db/é"), service("db", "unhealthy"));
    await next.registry.close();
  });

  it("is there for the next process also where one service has more instances than a value of the store has room for", async () => {
    const first = await open();
    const workloads = Array.from({ length: 5_000 }, (_, at): Workload => plainWorkload(`10.0.${at >> 8}.${at & 255}`, { health: "unhealthy", labels: { version: "v1", rack: String(at % 40) }, locality: { region: "dc1", zone: "a", subZone: "" } }));
    const large: RegistryService = { ...service("node-exporter", "healthy"), backends: { kind: "explicit", workloads } };
    assert.ok(JSON.stringify(large).length > storeLimits.valueBytes);
    first.services.apply([["node-exporter", large]]);
    first.sync();
    await first.registry.close();
    assert.equal(first.registry.status().lastError, undefined);
    const next = await open();
    assert.deepEqual(next.registry.services.get("node-exporter"), large);
    await next.registry.close();
  });

  it("gives way as a whole when the registry has spoken, also when that has nothing", async () => {
    const first = await open();
    first.services.apply([["web", service("web", "healthy")], ["db", service("db", "healthy")]]);
    first.sync();
    await first.registry.close();
    const next = await open();
    next.services.apply([["web", service("web", "healthy")]]);
    assert.equal(next.registry.services.entries().size, 2, "half a content is none");
    next.sync();
    assert.deepEqual([...next.registry.services.entries()], [["web", service("web", "healthy")]]);
    next.services.apply([["web", undefined]]);
    assert.equal(next.registry.services.entries().size, 0);
    await next.registry.close();
    const last = await open();
    assert.equal(last.registry.status().synced, false);
    await last.registry.close();
    assert.deepEqual((await store.list("")).items, []);
  });

  it("serves of what is stored what the settings give, says what they do not, and forgets that only when the registry has spoken", async () => {
    const first = await open();
    first.services.apply(["a", "b", "c", "d", "e"].map((name) => [name, { ...service(name, "healthy"), aliases: [`${name}.service.consul`] }]));
    first.sync();
    await first.registry.close();
    const changed: Admission = { scope: "dc1", admit: (id, given) => (id === "a" ? given : id === "b" ? { ...given, aliases: [] } : undefined) };
    const next = await open({ admission: changed });
    assert.deepEqual([...next.registry.services.entries().values()].map(({ name, aliases }) => [name, aliases]), [["a", ["a.service.consul"]], ["b", []]]);
    const note = (registry: LastGoodRegistry): string | undefined => registry.status().notes.find((line) => line.includes("its settings do not give them any more"));
    assert.match(note(next.registry) ?? "", /^until it answers, b, c, d and 1 more services of the store/);
    await next.registry.close();

    const elsewhere = await open({ admission: { ...EVERYTHING, scope: "dc2" } });
    assert.deepEqual([elsewhere.registry.services.entries().size, elsewhere.registry.status().synced], [0, false]);
    assert.match(note(elsewhere.registry) ?? "", /a, b, c and 2 more/);
    await elsewhere.registry.close();

    const back = await open();
    assert.deepEqual([back.registry.services.entries().size, note(back.registry)], [5, undefined], "nothing was lost by it");
    await back.registry.close();

    const last = await open({ admission: changed });
    last.services.apply([["a", service("a", "healthy")]]);
    last.sync();
    assert.equal(note(last.registry), undefined);
    await last.registry.close();
    assert.deepEqual((await store.list("registry/")).items.map(({ key }) => key), ["registry/consul/a"]);
  });

  it("knows in the next process how old its content is, a minute more at most when the last one was killed", async () => {
    const clock = createManualClock();
    let confirmedAt = clock.now();
    const ageMs = (): number => clock.now() - confirmedAt;
    const killed = await open({ clock, ageMs });
    killed.services.apply([["web", service("web", "healthy")]]);
    killed.sync();
    clock.advance(100_000);
    confirmedAt = clock.now();
    clock.advance(30_000);
    await waitUntil(async () => (await store.get("registry-confirmed/consul"))?.value.includes(String(confirmedAt)) === true, { what: "the confirmation to be saved" });
    confirmedAt = clock.now();
    clock.advance(5_000);
    const next = await open({ clock });
    assert.equal(next.registry.status().ageMs, 35_000);
    await next.registry.close();

    await killed.registry.close();
    const last = await open({ clock });
    assert.equal(last.registry.status().ageMs, 5_000);
    await last.registry.close();
  });

  it("does not write down again and again that nobody confirmed it, though two clocks are never read at once", async () => {
    const manual = createManualClock();
    let reads = 0;
    const clock: Clock = { ...manual, elapsed: () => manual.elapsed() + (reads++ % 5) / 10 };
    const confirmedAt = clock.elapsed();
    const peer = await open({ clock, ageMs: () => clock.elapsed() - confirmedAt });
    peer.services.apply([["web", service("web", "healthy")]]);
    peer.sync();
    await waitUntil(async () => (await store.get("registry-confirmed/consul")) !== undefined, { what: "the first confirmation" });
    const before = await store.get("registry-confirmed/consul");
    for (let minute = 0; minute < 5; minute += 1) manual.advance(60_000);
    await peer.registry.close();
    assert.deepEqual(await store.get("registry-confirmed/consul"), before);
  });

  it("shows that it cannot be saved", async () => {
    const peer = await open();
    await store.close();
    peer.services.apply([["web", service("web", "healthy")]]);
    peer.sync();
    await new Promise(setImmediate);
    assert.equal(peer.registry.status().lastError?.code, "MESH_REGISTRY_STORE");
    assert.equal(peer.registry.services.entries().size, 1);
    await peer.registry.close();
  });
});

function service(name: string, health: Health): RegistryService {
  const source = { registry: "consul", object: `dc1/${name}` };
  return {
    namespace: "consul",
    name,
    claim: "canonical",
    hostname: `${name}.consul.svc.mesh.internal`,
    aliases: [],
    ports: [{ name: "", number: 80, protocol: "TCP" }],
    resolution: "static",
    external: true,
    addresses: [],
    labels: {},
    subjectAltNames: [],
    exportTo: ["*"],
    backends: {
      kind: "explicit",
      workloads: [
        {
          key: `consul/${name}`,
          namespace: "consul",
          name,
          addresses: ["10.0.0.1"],
          ports: { "": 80 },
          labels: {},
          serviceAccount: "",
          locality: { region: "", zone: "", subZone: "" },
          network: "",
          weight: 1,
          health,
          meshed: false,
          source,
        },
      ],
    },
    allowsPlaintext: false,
    notes: [],
    source,
  };
}
