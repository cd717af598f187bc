import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Clock, systemClock } from "../../../../../../base/clock.ts";
import { silentLogger } from "../../../../../../base/logger.ts";
import { OwnNodes } from "../../../../../../discovery/registry/consul/publish/own-nodes.ts";
import { createPublisher, type Publisher, type PublisherOptions } from "../../../../../../discovery/registry/consul/publish/publisher.ts";
import type { KeyValueStore } from "../../../../../../store/key-value.ts";
import { createMemoryStore } from "../../../../../../store/memory.ts";
import { FakeConsulCatalog } from "../../../../../fakes/consul-catalog.ts";
import { hostEndpoint, meshService, PublishedCatalog } from "../../../../../support/published-catalog.ts";
import { waitUntil } from "../../../../../support/wait-until.ts";

const HOLD_MS = 77_777;
const PACING = { holdMs: HOLD_MS, gatherMs: 1, intervalMs: 50, writeIntervalMs: 1, backoff: { baseMs: 10, maxMs: 40 } };
/** Consul is not read again without a reason. */
const SELDOM = { ...PACING, intervalMs: 3_600_000 };
const OWNER = "mesh.internal/consul";

describe("publishing in consul", () => {
  let consul: FakeConsulCatalog;
  let catalog: PublishedCatalog;
  let publishers: Publisher[];
  /** Of the control plane. */
  let store: KeyValueStore;
  /** Ends the time in which nothing is removed. */
  let endHold: () => void;

  const clock: Clock = {
    ...systemClock,
    after(delayMs, callback) {
      if (delayMs !== HOLD_MS) return systemClock.after(delayMs, callback);
      endHold = callback;
      return () => {};
    },
  };

  function start(changes: Partial<PublisherOptions> = {}): Publisher {
    const publisher = createPublisher({
      owner: OWNER,
      node: "ironmesh",
      ownNodes: new OwnNodes(store, "consul"),
      address: consul.address,
      from: ["hosts"],
      nameTemplate: "{name}",
      tags: [],
      services: catalog.services,
      endpoints: catalog.endpoints,
      workloads: catalog.workloads,
      pacing: PACING,
      clock,
      logger: silentLogger,
      ...changes,
    });
    publishers.push(publisher);
    publisher.start();
    return publisher;
  }

  beforeEach(async () => {
    consul = await new FakeConsulCatalog().listen();
    catalog = new PublishedCatalog();
    store = createMemoryStore();
    publishers = [];
    endHold = () => {};
  });

  afterEach(async () => {
    await Promise.all(publishers.map((publisher) => publisher.close()));
    await consul.close();
  });

  const namesOn = (node = "ironmesh"): string[] => consul.servicesOf(node).map(({ Service: name }) => name).sort();
  const statuses = (): string[] => consul.checksOf("ironmesh").map(({ Status: status }) => status).sort();
  const settled = (what: string, condition: () => boolean): Promise<boolean> => waitUntil(condition, { what, intervalMs: 5 });
  const published = (...names: readonly string[]): Promise<boolean> => settled(`${names.join()} to be published`, () => namesOn().join() === names.join());
  /** What Consul holds was read, and whatever followed from that is written. */
  async function readAgain(): Promise<void> {
    const from = consul.readings;
    await settled("more readings", () => consul.readings >= from + 3);
  }

  it("registers instances with their checks, follows their health, and writes nothing where nothing changes", async () => {
    catalog.put(meshService("web"), [hostEndpoint("h1", "10.0.0.1"), hostEndpoint("h2", "10.0.0.2")]);
    const publisher = start();
    await published("web", "web");
    assert.deepEqual(statuses(), ["passing", "passing"]);
    assert.deepEqual(consul.nodes.get("ironmesh")?.meta, { "external-source": "ironmesh", "ironmesh-owner": OWNER });
    catalog.setHealth("default/web", "h1", "unhealthy");
    await settled("one to be critical", () => statuses().join() === "critical,passing");
    catalog.setHealth("default/web", "h1", "healthy");
    await settled("it to pass again", () => statuses().join() === "passing,passing");
    await readAgain();
    assert.equal(consul.transactions.length, 3);
    const { pending, ...status } = publisher.status();
    assert.deepEqual(status, { services: 1, instances: 2, notes: [] });
    assert.equal(pending, 0);
  });

  it("sets an instance and its check in one transaction", async () => {
    catalog.put(meshService("web"), Array.from({ length: 100 }, (_, at) => hostEndpoint(`h${at}`, `10.0.0.${at + 1}`)));
    start();
    await settled("all to be published", () => namesOn().length === 100);
    assert.ok(consul.transactions.length >= 4);
    for (const transaction of consul.transactions) {
      assert.ok(transaction.length <= 64);
      const [services, checks] = (["Service", "Check"] as const).map((part) => transaction.filter((operation) => operation[part] !== undefined).length);
      assert.equal(services, checks);
    }
  });

  it("removes nothing before hosts had the time to return, and then what is gone", async () => {
    catalog.put(meshService("web"), [hostEndpoint("h1", "10.0.0.1")]);
    await (start(), published("web"));
    await publishers.pop()?.close();
    assert.deepEqual(namesOn(), ["web"], "it stays while the control plane is away");

    catalog = new PublishedCatalog();
    const publisher = start();
    await settled("the note", () => /1 published instances would be removed/.test(publisher.status().notes.join()));
    await readAgain();
    assert.deepEqual(namesOn(), ["web"]);
    endHold();
    await settled("the removal", () => consul.nodes.get("ironmesh") === undefined);
    assert.deepEqual(publisher.status(), { services: 0, instances: 0, pending: 0, notes: [] });
  });

  it("follows a host that leaves, once the hold is over", async () => {
    catalog.put(meshService("web"), [hostEndpoint("h1", "10.0.0.1"), hostEndpoint("h2", "10.0.0.2")]);
    start();
    await published("web", "web");
    endHold();
    catalog.put(meshService("web"), [hostEndpoint("h2", "10.0.0.2")]);
    await published("web");
    assert.equal(consul.checksOf("ironmesh").length, 1);
  });

  for (const [what, disturb, mend] of [
    ["is cut off", () => (consul.faults.isCut = true), () => delete consul.faults.isCut],
    ["has no leader", () => (consul.faults.status = 500), () => delete consul.faults.status],
    ["takes writes and says nothing", () => (consul.faults.isAnswerLost = true), () => delete consul.faults.isAnswerLost],
  ] as const) {
    it(`goes on when Consul ${what}, and then does not`, async () => {
      catalog.put(meshService("web"), [hostEndpoint("h1", "10.0.0.1")]);
      const publisher = start({ pacing: SELDOM });
      await published("web");
      disturb();
      catalog.put(meshService("db"), [hostEndpoint("h1", "10.0.0.1")]);
      await settled("the failure", () => publisher.status().lastError !== undefined);
      assert.equal(publisher.status().instances, 1, "what is known stays known");
      consul.nodes.clear();
      mend();
      await published("db", "web");
      await settled("the end of the failure", () => publisher.status().lastError === undefined);
    });
  }

  it("writes again what Consul lost, a check too", async () => {
    catalog.put(meshService("web"), [hostEndpoint("h1", "10.0.0.1")]);
    start();
    await published("web");
    consul.nodes.clear();
    await published("web");
    consul.nodes.get("ironmesh")?.checks.clear();
    await settled("the check", () => statuses().join() === "passing");
  });

  it("takes no name that somebody else has, and gives up its own when somebody comes", async () => {
    consul.register("n1", { ID: "web", Service: "web" });
    catalog.put(meshService("web"), [hostEndpoint("h1", "10.0.0.1")]);
    catalog.put(meshService("db"), [hostEndpoint("h1", "10.0.0.1")]);
    const publisher = start();
    endHold();
    await published("db");
    await readAgain();
    assert.deepEqual(namesOn(), ["db"]);
    assert.deepEqual(publisher.status().notes, ["default/web is not published: web in Consul is somebody else's (on node n1)"]);
    consul.register("n2", { ID: "db", Service: "db" });
    await settled("db to be left to its owner", () => !namesOn().includes("db"));
    consul.nodes.delete("n1");
    await published("web");
  });

  it("adds to a name that others have, in whatever case, where that is asked for", async () => {
    consul.register("n1", { ID: "web", Service: "Web" });
    consul.register("n1", { ID: "db", Service: "DB" });
    catalog.put(meshService("web"), [hostEndpoint("h1", "10.0.0.1")]);
    catalog.put(meshService("db"), [hostEndpoint("h1", "10.0.0.1")]);
    const publisher = start({ sharedNames: ["Web"] });
    await published("web");
    await readAgain();
    assert.deepEqual(namesOn(), ["web"]);
    assert.match(publisher.status().notes.join(), /^default\/db is not published/);
  });

  it("takes a name for somebody else's where it may not see who has it", async () => {
    consul.register("n1", { ID: "web", Service: "web" });
    consul.hiddenNodes.add("n1");
    catalog.put(meshService("web"), [hostEndpoint("h1", "10.0.0.1")]);
    const publisher = start();
    await settled("the note", () => /on a node that the token may not read/.test(publisher.status().notes.join()));
    assert.deepEqual(namesOn(), []);
  });

  it("leaves what others put on its node, and their names", async () => {
    catalog.put(meshService("web"), [hostEndpoint("h1", "10.0.0.1")]);
    const publisher = start();
    await published("web");
    endHold();
    consul.register("ironmesh", { ID: "mine", Service: "mine" });
    catalog.remove("default/web");
    catalog.put(meshService("mine"), [hostEndpoint("h1", "10.0.0.1")]);
    await settled("web to go", () => namesOn().join() === "mine");
    await settled("the note", () => /mine in Consul is somebody else's/.test(publisher.status().notes.join()));
    assert.deepEqual(consul.servicesOf("ironmesh").map(({ ID: id }) => id), ["mine"]);
  });

  for (const [which, see] of [["others have instances", () => {}], ["the token may not read all", () => consul.hiddenServices.add("theirs")]] as const) {
    it(`removes no node, and none of before, on which ${which}`, async () => {
      catalog.put(meshService("web"), [hostEndpoint("h1", "10.0.0.1")]);
      await (start({ node: "former" }), settled("the former", () => namesOn("former").join() === "web"));
      await publishers.pop()?.close();
      consul.register("former", { ID: "theirs", Service: "theirs" });
      see();
      const publisher = start();
      await published("web");
      endHold();
      await settled("our own to go", () => namesOn("former").join() === "theirs");
      await settled("the note", () => /the node former of before stays/.test(publisher.status().notes.join()));
      consul.register("ironmesh", { ID: "theirs", Service: "theirs" });
      await readAgain();
      catalog.remove("default/web");
      await published("theirs");
      await readAgain();
      assert.deepEqual([namesOn(), namesOn("former")], [["theirs"], ["theirs"]]);
    });
  }

  for (const [what, come] of [
    ["that it may not read", () => consul.hiddenServices.add("legacy")],
    ["that came a moment ago", () => {}],
  ] as const) {
    it(`does not take its node away with what others put there ${what}`, async () => {
      catalog.put(meshService("web"), [hostEndpoint("h1", "10.0.0.1")]);
      const publisher = start({ pacing: SELDOM });
      await published("web");
      consul.register("ironmesh", { ID: "legacy", Service: "legacy" });
      come();
      const before = consul.readings;
      endHold();
      catalog.remove("default/web");
      await settled("web to go, and a last look at the node", () => publisher.status().instances === 0 && consul.readings > before);
      await publishers.pop()?.close();
      assert.deepEqual(namesOn(), ["legacy"]);
    });
  }

  it("takes its own away from a node that it had before, and leaves what others put there", async () => {
    catalog.put(meshService("web"), [hostEndpoint("h1", "10.0.0.1")]);
    await (start(), published("web"));
    await publishers.pop()?.close();
    consul.register("ironmesh", { ID: "legacy", Service: "legacy" });
    start({ node: "mesh" });
    endHold();
    await settled("web to move", () => namesOn("mesh").join() === "web" && namesOn().join() === "legacy");
    await readAgain();
    assert.deepEqual(namesOn(), ["legacy"]);
  });

  it("removes no node of another control plane with the same owner, and says that there is one, until that is gone", async () => {
    catalog.put(meshService("web"), [hostEndpoint("h1", "10.0.0.1")]);
    const other = start({ node: "east", ownNodes: new OwnNodes(createMemoryStore(), "consul"), sharedNames: ["web"] });
    await settled("the other's", () => namesOn("east").join() === "web");
    endHold();
    const publisher = start({ node: "west", sharedNames: ["web"] });
    await settled("ours", () => namesOn("west").join() === "web");
    endHold();
    const wrote = consul.transactions.length;
    await readAgain();
    await readAgain();
    for (const [one, name] of [[publisher, "east"], [other, "west"]] as const) {
      await settled("the note", () => one.status().notes.some((note) => note.startsWith(`the node ${name} in consul is of our owner ${OWNER}, and not of this control plane`)));
    }
    assert.deepEqual([namesOn("east"), namesOn("west"), consul.transactions.length], [["web"], ["web"], wrote]);
    await other.close();
    publishers = [publisher];
    consul.nodes.delete("east");
    await settled("the end of the note", () => publisher.status().notes.length === 0);
  });

  it("takes no node for its own that came after its own of that name was gone", async () => {
    catalog.put(meshService("web"), [hostEndpoint("h1", "10.0.0.1")]);
    await (start({ node: "former" }), settled("the former", () => namesOn("former").join() === "web"));
    await publishers.pop()?.close();
    const publisher = start();
    endHold();
    await settled("the former node to go", () => !consul.nodes.has("former"));
    await readAgain();
    start({ node: "former", ownNodes: new OwnNodes(createMemoryStore(), "consul") });
    await settled("the note", () => publisher.status().notes.some((note) => note.startsWith("the node former in consul is of our owner")));
    await readAgain();
    assert.deepEqual(namesOn("former"), ["web"]);
  });

  it("publishes on, and removes no node of before, while its store fails", async () => {
    catalog.put(meshService("web"), [hostEndpoint("h1", "10.0.0.1")]);
    await (start({ node: "former" }), settled("the former", () => namesOn("former").join() === "web"));
    await publishers.pop()?.close();
    await store.close();
    const publisher = start();
    await published("web");
    endHold();
    await readAgain();
    assert.deepEqual(namesOn("former"), ["web"]);
    assert.match(publisher.status().notes.join(), /which nodes in consul are our own cannot be read or saved/);
  });

  for (const [whose, meta, said] of [["nobody's", {}, /somebody else's/], ["another mesh's", { "ironmesh-owner": "other.example/consul" }, /that of other\.example\/consul/]] as const) {
    it(`does not touch a node that is ${whose}`, async () => {
      consul.register("ironmesh", { ID: "x", Service: "x" });
      const node = consul.nodes.get("ironmesh");
      if (node !== undefined) node.meta = meta;
      catalog.put(meshService("web"), [hostEndpoint("h1", "10.0.0.1")]);
      const publisher = start();
      endHold();
      await settled("the failure", () => publisher.status().lastError?.code === "MESH_PUBLISH_CONFLICT");
      assert.match(publisher.status().lastError?.message ?? "", said);
      assert.match(publisher.status().lastError?.hint ?? "", /publish\.node/);
      assert.deepEqual(namesOn(), ["x"]);
    });
  }

  it("publishes what it may where the token lacks a name, and says which right is missing", async () => {
    consul.deniedServices.add("db");
    catalog.put(meshService("db"), [hostEndpoint("h1", "10.0.0.1"), hostEndpoint("h2", "10.0.0.2")]);
    catalog.put(meshService("web"), [hostEndpoint("h1", "10.0.0.1")]);
    const publisher = start();
    await published("web");
    await settled("the failure", () => publisher.status().lastError?.code === "MESH_PUBLISH_DENIED");
    assert.match(publisher.status().lastError?.hint ?? "", /service "db" \{ policy = "write" \}/);
    assert.equal(publisher.status().pending, 2);
    consul.deniedServices.clear();
    await published("db", "db", "web");
    await settled("the end of the failure", () => publisher.status().lastError === undefined);
  });

  it("does not let what is refused keep back the rest", async () => {
    consul.deniedServices.add("db");
    catalog.put(meshService("db"), [hostEndpoint("h1", "10.0.0.1")]);
    catalog.put(meshService("web"), [hostEndpoint("h1", "10.0.0.1")]);
    start({ pacing: SELDOM });
    await published("web");
  });

  it("says that the token may not write the node", async () => {
    consul.isNodeDenied = true;
    catalog.put(meshService("web"), [hostEndpoint("h1", "10.0.0.1")]);
    const publisher = start();
    await settled("the failure", () => /node "ironmesh" \{ policy = "write" \}/.test(publisher.status().lastError?.hint ?? ""));
    assert.equal(consul.transactions.length, 0);
  });

  it("says that the token's file is missing", async () => {
    const folder = await mkdtemp(join(tmpdir(), "ironmesh-publish-"));
    const publisher = start({ tokenFile: join(folder, "token") });
    await settled("the failure", () => publisher.status().lastError?.code === "MESH_REGISTRY_DENIED");
    await rm(folder, { recursive: true });
  });

  it("moves to another node and another name without a moment in which nothing is found", async () => {
    catalog.put(meshService("web"), [hostEndpoint("h1", "10.0.0.1")]);
    await (start({ node: "former" }), settled("the former", () => namesOn("former").join() === "web"));
    await publishers.pop()?.close();
    const publisher = start({ nameTemplate: "mesh-{name}" });
    await published("mesh-web");
    assert.deepEqual(namesOn("former"), ["web"], "until hosts had their time to return");
    endHold();
    await settled("the former node to go", () => !consul.nodes.has("former"));
    await publisher.close();
    publishers.pop();
    start();
    await published("web");
    assert.equal(consul.checksOf("ironmesh").length, 1);
  });

  it("notes services that refuse who is not in the mesh", async () => {
    catalog.put(meshService("web"), [hostEndpoint("h1", "10.0.0.1"), hostEndpoint("h2", "10.0.0.2")]);
    const publisher = start({ refusesPlain: (workload, address, port) => workload === "hosts/h1/app" && address === "10.0.0.1" && port === 8_080 });
    await published("web", "web");
    await settled("the note", () => publisher.status().notes.length === 1);
    assert.match(publisher.status().notes.join(), /^default\/web is published as web, but its port 8080 is STRICT/);
  });
});
