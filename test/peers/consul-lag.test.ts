/** A server of a real Consul cluster that is cut off from the others: it answers stale questions out of what it had. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../base/clock.ts";
import { createConsulRegistry } from "../../discovery/registry/consul/registry.ts";
import { keepLastGood } from "../../discovery/registry/last-good.ts";
import type { Registry } from "../../discovery/registry/registry.ts";
import { createMemoryStore } from "../../store/memory.ts";
import type { ConsulAgent } from "../support/consul-agent.ts";
import { startConsulCluster } from "../support/consul-cluster.ts";
import type { ConsulCluster } from "../support/consul-cluster.ts";
import { FAST, instancesOf, startedRegistry } from "../support/consul-reading.ts";
import { consulPath } from "../support/consul.ts";
import { waitUntil } from "../support/wait-until.ts";

const MANAGEMENT_TOKEN = "11111111-2222-3333-4444-555555555555";
/** As docs/consul.md gives it. */
const READING = 'service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }';
/** Questions end soon, so that what became of the server shows soon. */
const PACING = { ...FAST, waitMs: 1_000 };
const path = consulPath() ?? "";

(path === "" ? describe.skip : describe)(path === "" ? "a consul server that lags (no consul binary and no Go to build one)" : "a consul server that lags", () => {
  let folder: string;
  let cluster: ConsulCluster;
  let leader: ConsulAgent;
  /** A follower that stays with the leader, and one that is cut off. */
  let current: ConsulAgent;
  let lagging: ConsulAgent;
  let tokenFile: string;
  const open: Registry[] = [];

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "ironmesh-consul-"));
    cluster = await startConsulCluster(path, folder, MANAGEMENT_TOKEN);
    leader = await cluster.leader();
    const [one, two] = cluster.servers.filter((server) => server !== leader);
    if (one === undefined || two === undefined) throw new Error("no followers");
    [current, lagging] = [one, two];
    tokenFile = join(folder, "token");
    await writeFile(tokenFile, (await leader.createToken(READING)).secret);
    await leader.transact([node("n1"), ...["1", "2", "3", "4"].map((id) => instance("web", id)), probe("web", "1", "passing"), instance("old", "1")]);
  });

  afterEach(async () => {
    for (const registry of open.splice(0)) await registry.close();
    await cluster.close();
    await rm(folder, { recursive: true });
  });

  async function reading(address: string, otherAddresses: readonly string[] = []): Promise<Registry> {
    const registry = await startedRegistry(address, { otherAddresses, tokenFile, pacing: PACING });
    open.push(registry);
    return registry;
  }

  /** Cuts it off when it has what was registered, and waits until it knows that it has lost its leader. */
  async function cutOff(): Promise<number> {
    await waitUntil(async () => (await indexAt(lagging)) === (await indexAt(leader)), { what: "the follower to have everything" });
    await cluster.cut(lagging);
    await waitUntil(async () => !(await cluster.staleness(lagging, WEB)).isLeaderKnown, { what: "the follower to lose its leader" });
    return indexAt(lagging);
  }

  const indexAt = async (server: ConsulAgent): Promise<number> => (await cluster.staleness(server, WEB)).index;

  /** What the follower misses: an instance and a service more and less each, one instance that became unhealthy. */
  async function change(): Promise<void> {
    await leader.transact([without("web", "4"), without("old", "1"), probe("web", "1", "critical"), instance("web", "5"), instance("new", "1")]);
  }

  const BEFORE = { old: "1", web: "1,2,3,4" };
  const AFTER = { new: "1", web: "1 unhealthy,2,3,5" };

  it("takes nothing back when the server that it moves to lags, and goes on with the first when that is back", async () => {
    const registry = await reading(current.address, [lagging.address]);
    await waitUntil(() => isContent(registry, BEFORE), { what: "the first content" });
    const stoodAt = await cutOff();
    await change();
    await waitUntil(() => isContent(registry, AFTER), { what: "the changes" });
    const { lastContactMs } = await cluster.staleness(lagging, WEB);
    const changes: string[] = [];
    registry.services.subscribe((all) => changes.push(...all.map(({ key }) => key)));

    await current.stop();
    await waitUntil(() => /no leader.*behind what is known/.test(registry.status().lastError?.message ?? ""), { what: "that the other server is behind" });
    const refused = (): number => registry.status().counters?.failures["MESH_REGISTRY_UNAVAILABLE"] ?? 0;
    const before = refused();
    await waitUntil(() => refused() > before + 10, { what: "more answers that are not taken" });
    const now = await cluster.staleness(lagging, WEB);
    assert.deepEqual([now.index, now.isLeaderKnown, now.lastContactMs > lastContactMs], [stoodAt, false, true], "it lags all the time");
    assert.deepEqual([changes, contentOf(registry)], [[], AFTER]);
    assert.deepEqual([registry.status().synced, registry.status().lastError?.code], [true, "MESH_REGISTRY_UNAVAILABLE"]);

    await current.start();
    await waitUntil(() => registry.status().lastError === undefined, { what: "the first server again, with the other one still cut off" });
    assert.equal((await cluster.staleness(lagging, WEB)).index, stoodAt);
    assert.deepEqual([changes, contentOf(registry)], [[], AFTER]);
    await leader.transact([instance("web", "6")]);
    await waitUntil(() => isContent(registry, { ...AFTER, web: "1 unhealthy,2,3,5,6" }), { what: "a change since" });
    assert.deepEqual(new Set(changes), new Set(["web"]));

    await cluster.heal();
    await equalsFreshLists(registry);
  });

  it("keeps what it has where the only server that it knows lags, says so, and has everything when that is healed", async () => {
    const registry = await reading(lagging.address);
    await waitUntil(() => isContent(registry, BEFORE), { what: "the first content" });
    const stoodAt = await cutOff();
    await change();
    await waitUntil(() => registry.status().lastError?.code === "MESH_REGISTRY_UNAVAILABLE", { what: "that there is no leader" });
    const age = registry.status().ageMs ?? 0;
    await waitUntil(() => (registry.status().ageMs ?? 0) > age + 3_000, { what: "its content to become old, although it is answered" });
    assert.equal(await indexAt(lagging), stoodAt);
    assert.deepEqual([registry.status().synced, contentOf(registry)], [true, BEFORE]);
    await cluster.heal();
    await waitUntil(() => isContent(registry, AFTER) && registry.status().lastError === undefined, { what: "what it missed" });
    await equalsFreshLists(registry);
  });

  it("begins with what it had when it is started anew and the server that it asks lags", async () => {
    const store = createMemoryStore();
    const restarted = async (address: string): Promise<Registry> => {
      const registry = keepLastGood(
        (onSynced, recalled) => createConsulRegistry({ name: "consul", namespace: "consul", meshDomain: "mesh.internal", address, tokenFile, clock: systemClock, pacing: PACING, onSynced, recalled }),
        { kind: "consul", store, clock: systemClock, admission: { scope: "", admit: (_id, service) => service } },
      );
      await registry.load();
      registry.start();
      open.push(registry);
      return registry;
    };
    await cutOff();
    await change();
    const before = await restarted(current.address);
    await waitUntil(() => isContent(before, AFTER), { what: "the content" });
    await before.close();
    const registry = await restarted(lagging.address);
    await waitUntil(() => registry.status().lastError?.code === "MESH_REGISTRY_UNAVAILABLE", { what: "that there is no leader" });
    await waitUntil(() => (registry.status().counters?.failures["MESH_REGISTRY_UNAVAILABLE"] ?? 0) > 10, { what: "answers that are not taken" });
    assert.deepEqual(contentOf(registry), { new: "1 unknown", web: "1 unhealthy,2 unknown,3 unknown,5 unknown" });
    assert.match(registry.status().notes.join(), /the last good one from the store/);
    await cluster.heal();
    await waitUntil(() => isContent(registry, AFTER) && registry.status().lastError === undefined, { what: "the answer of a leader" });
  });

  /** Also the one that was cut off. */
  async function equalsFreshLists(registry: Registry): Promise<void> {
    await waitUntil(async () => (await indexAt(lagging)) === (await indexAt(leader)), { what: "the follower to have caught up" });
    for (const server of cluster.servers) {
      const fresh = await reading(server.address);
      await waitUntil(() => fresh.status().synced, { what: "a fresh list" });
      assert.deepEqual(new Map(registry.services.entries()), new Map(fresh.services.entries()), server.host);
    }
  }
});

const WEB = "/v1/health/service/web";

/** The instances of each service, and how those feel that are not healthy. */
function contentOf(registry: Registry): Readonly<Record<string, string>> {
  const services = [...registry.services.entries()].toSorted(([left], [right]) => left.localeCompare(right));
  return Object.fromEntries(
    services.map(([name, service]) => [name, instancesOf(service).map(({ name: id, health }) => id.replace(`${name}-`, "") + (health === "healthy" ? "" : ` ${health}`)).join()]),
  );
}

function isContent(registry: Registry, wanted: Readonly<Record<string, string>>): boolean {
  return JSON.stringify(contentOf(registry)) === JSON.stringify(wanted);
}

function node(Node: string) {
  return { Node: { Verb: "set", Node: { Node, Address: "10.0.0.1" } } };
}

function instance(service: string, id: string) {
  return { Service: { Verb: "set", Node: "n1", Service: { ID: `${service}-${id}`, Service: service, Address: `10.1.0.${id}`, Port: 80 } } };
}

function without(service: string, id: string) {
  return { Service: { Verb: "delete", Node: "n1", Service: { ID: `${service}-${id}`, Service: service } } };
}

function probe(service: string, id: string, Status: "passing" | "critical") {
  return { Check: { Verb: "set", Check: { Node: "n1", CheckID: `${service}-${id}`, Name: "probe", Status, ServiceID: `${service}-${id}` } } };
}
