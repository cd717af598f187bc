import assert from "node:assert/strict";
import { Resolver } from "node:dns/promises";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../base/clock.ts";
import { silentLogger } from "../../base/logger.ts";
import { OwnNodes } from "../../discovery/registry/consul/publish/own-nodes.ts";
import { createPublisher, type Publisher, type PublisherOptions } from "../../discovery/registry/consul/publish/publisher.ts";
import { createConsulRegistry } from "../../discovery/registry/consul/registry.ts";
import type { KeyValueStore } from "../../store/key-value.ts";
import { createMemoryStore } from "../../store/memory.ts";
import { ConsulAgent } from "../support/consul-agent.ts";
import { consulPath } from "../support/consul.ts";
import { hostEndpoint, meshService, PublishedCatalog } from "../support/published-catalog.ts";
import type { RegistryView } from "../../discovery/http/api.ts";
import { prepareControlPlane } from "../support/control-plane.ts";
import { waitUntil } from "../support/wait-until.ts";

const MANAGEMENT_TOKEN = "11111111-2222-3333-4444-555555555555";
/** The least that a token needs, as docs/consul-publish.md says. */
const RULES = `node "ironmesh" { policy = "write" }
  node_prefix "" { policy = "read" }
  service_prefix "mesh-" { policy = "write" }`;
const MESH = `apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: web-1, namespace: default}
spec: {address: 10.0.0.1, labels: {app: web}}
`;
const path = consulPath();

(path === undefined ? describe.skip : describe)(path === undefined ? "publishing in consul (no consul binary and no Go to build one)" : "publishing in a consul that denies by default", () => {
  let consul: ConsulAgent;
  let folder: string;
  let tokenFile: string;
  let catalog: PublishedCatalog;
  let store: KeyValueStore;
  let publishers: Publisher[];

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "ironmesh-publish-"));
    tokenFile = join(folder, "token");
    consul = await ConsulAgent.start({ path: path ?? "", managementToken: MANAGEMENT_TOKEN, dataFolder: join(folder, "data") });
    await writeFile(tokenFile, (await consul.createToken(RULES)).secret);
  });

  after(async () => {
    await consul.stop();
    await rm(folder, { recursive: true });
  });

  beforeEach(() => {
    catalog = new PublishedCatalog();
    store = createMemoryStore();
    publishers = [];
  });

  afterEach(async () => {
    await Promise.all(publishers.map((publisher) => publisher.close()));
    // As docs/consul-publish.md says.
    await consul.call("PUT", "/v1/catalog/deregister", { Node: "ironmesh" });
    assert.deepEqual((await entries("mesh-web")).filter(({ Node: { Node: node } }) => node === "ironmesh"), []);
  });

  function start(changes: Partial<PublisherOptions> = {}): Publisher {
    const publisher = createPublisher({
      owner: "mesh.internal/consul",
      node: "ironmesh",
      ownNodes: new OwnNodes(store, "consul"),
      address: consul.address,
      tokenFile,
      from: ["hosts"],
      nameTemplate: "mesh-{name}",
      tags: ["mesh"],
      services: catalog.services,
      endpoints: catalog.endpoints,
      workloads: catalog.workloads,
      pacing: { holdMs: 0, gatherMs: 10, intervalMs: 200, writeIntervalMs: 10, backoff: { baseMs: 50, maxMs: 500 } },
      clock: systemClock,
      logger: silentLogger,
      ...changes,
    });
    publishers.push(publisher);
    publisher.start();
    return publisher;
  }

  interface Entry {
    readonly Node: { readonly Node: string };
    readonly Service: { readonly ID: string; readonly Address: string; readonly Port: number; readonly Tags: readonly string[]; readonly Weights: unknown; readonly Meta: Readonly<Record<string, string>> };
    readonly Checks: readonly { readonly Status: string; readonly Output: string }[];
  }
  const entries = async (service: string): Promise<readonly Entry[]> => (await consul.call("GET", `/v1/health/service/${service}`)).body as readonly Entry[];
  const health = async (service: string): Promise<string> => (await entries(service)).flatMap(({ Checks: checks }) => checks.map(({ Status: status }) => status)).sort().join();
  const reached = (service: string, wanted: string): Promise<boolean> => waitUntil(async () => (await health(service)) === wanted, { what: `${service} to be ${wanted || "gone"}` });
  const failed = (publisher: Publisher, code: string): Promise<boolean> => waitUntil(() => publisher.status().lastError?.code === code, { what: code });
  const well = (publisher: Publisher): Promise<boolean> => waitUntil(() => publisher.status().lastError === undefined && publisher.status().pending === 0, { what: "publishing to work" });

  function resolver(): Resolver {
    const dns = new Resolver({ timeout: 2_000, tries: 3 });
    dns.setServers([`127.0.0.1:${consul.dnsPort}`]);
    return dns;
  }
  const addresses = async (name: string): Promise<string> => (await resolver().resolve4(name).catch((): string[] => [])).sort().join();

  it("is found by Consul's API and DNS, follows health, and goes with its host", async () => {
    catalog.put(meshService("web"), [hostEndpoint("h1", "fd00::1", { weight: 3, additionalAddresses: ["10.0.0.1"] }), hostEndpoint("h2", "10.0.0.2")]);
    const publisher = start({ datacenter: "dc1" });
    await reached("mesh-web", "passing,passing");
    const [first] = await entries("mesh-web");
    assert.deepEqual(
      [first?.Node.Node, first?.Service.ID, first?.Service.Address, first?.Service.Port, first?.Service.Tags, first?.Service.Weights],
      ["ironmesh", "ironmesh/default/web/hosts/h1/app", "10.0.0.1", 8_080, ["mesh"], { Passing: 3, Warning: 1 }],
    );
    assert.deepEqual(first?.Service.Meta, { "external-source": "ironmesh", "ironmesh-service": "default/web", "port-http": "8080", protocol: "http" });
    assert.equal(await addresses("mesh-web.service.consul"), "10.0.0.1,10.0.0.2");
    assert.deepEqual((await resolver().resolveSrv("mesh-web.service.consul")).map(({ port, name, weight }) => `${name}:${port} ${weight}`).sort(), [
      "0a000001.addr.dc1.consul:8080 3",
      "0a000002.addr.dc1.consul:8080 1",
    ]);
    assert.equal(await addresses("mesh.mesh-web.service.consul"), "10.0.0.1,10.0.0.2", "by its tag");

    catalog.setHealth("default/web", "h1", "unhealthy");
    await reached("mesh-web", "critical,passing");
    assert.equal(await addresses("mesh-web.service.consul"), "10.0.0.2");
    catalog.setHealth("default/web", "h1", "healthy");
    await reached("mesh-web", "passing,passing");
    catalog.put(meshService("web"), [hostEndpoint("h2", "10.0.0.2")]);
    await reached("mesh-web", "passing");
    assert.equal(await addresses("mesh-web.service.consul"), "10.0.0.2");
    await well(publisher);
    assert.deepEqual(publisher.status(), { services: 1, instances: 1, pending: 0, notes: [] });
    catalog.remove("default/web");
    await waitUntil(async () => ((await consul.call("GET", "/v1/catalog/node-services/ironmesh")).body as { Node: unknown }).Node === null, { what: "the node to go with the last instance" });
  });

  it("is never read back, also where others have the name, who keep it", async () => {
    await writeFile(join(folder, "all"), MANAGEMENT_TOKEN);
    const registry = createConsulRegistry({ name: "consul", namespace: "consul", meshDomain: "mesh.internal", address: consul.address, tokenFile: join(folder, "all"), clock: systemClock });
    registry.start();
    try {
      catalog.put(meshService("web"), [hostEndpoint("h1", "10.0.0.1")]);
      catalog.put(meshService("db"), [hostEndpoint("h1", "10.0.0.1")]);
      // Registered like ours by somebody's agent, without our mark: this one is read.
      await consul.register({ ID: "other", Name: "other", Address: "10.9.9.9", Port: 1 });
      // Names that differ in case alone are one to Consul.
      await consul.register({ ID: "db", Name: "mesh-DB", Address: "10.9.9.9", Port: 1 });
      const publisher = start({ tokenFile: join(folder, "all") });
      await reached("mesh-web", "passing");
      await waitUntil(() => registry.services.get("other") !== undefined && registry.services.get("mesh-DB") !== undefined, { what: "the registry to read" });
      assert.match(publisher.status().notes.join("\n"), /^default\/db is not published: mesh-db in Consul is somebody else's \(on node /);
      assert.equal((await entries("mesh-db")).length, 1);
      // A name that is ours when others come to it: both are there for a moment, and ours is not read.
      await consul.register({ ID: "web", Name: "mesh-web", Address: "10.9.9.8", Port: 1 });
      await waitUntil(async () => (await entries("mesh-web")).length === 1, { what: "ours to go" });
      await waitUntil(() => registry.services.get("mesh-web") !== undefined, { what: "theirs to be read" });
      const seen = [...registry.services.entries().values()].flatMap(({ backends }) => (backends.kind === "explicit" ? backends.workloads : []));
      assert.deepEqual(seen.flatMap(({ addresses }) => addresses).sort(), ["10.9.9.8", "10.9.9.9", "10.9.9.9"]);
      await consul.deregister("db", "web");
      await reached("mesh-db", "passing");
      await reached("mesh-web", "passing");
      await waitUntil(() => registry.services.get("mesh-web") === undefined, { what: "what is ours alone to be no service" });
      assert.deepEqual([...registry.services.entries().keys()], ["other"]);
    } finally {
      await registry.close();
      await consul.deregister("other");
    }
  });

  it("sees who has a name also where it may not read the node", async () => {
    const narrow = join(folder, "narrow");
    await writeFile(narrow, (await consul.createToken('node "ironmesh" { policy = "write" } service_prefix "mesh-" { policy = "write" }')).secret);
    await consul.register({ ID: "db", Name: "mesh-db", Address: "10.9.9.9", Port: 1 });
    catalog.put(meshService("db"), [hostEndpoint("h1", "10.0.0.1")]);
    catalog.put(meshService("web"), [hostEndpoint("h1", "10.0.0.1")]);
    const publisher = start({ tokenFile: narrow });
    await reached("mesh-web", "passing");
    await waitUntil(() => /mesh-db in Consul is somebody else's \(on a node that the token may not read\)/.test(publisher.status().notes.join()), { what: "the note" });
    assert.equal((await entries("mesh-db")).length, 1);
    await consul.deregister("db");
    await reached("mesh-db", "passing");
  });

  it("says what a token may not write, publishes the rest, and goes on with another token in the file", async () => {
    const changing = join(folder, "changing");
    await writeFile(changing, (await consul.createToken('node "ironmesh" { policy = "write" } service "mesh-web" { policy = "write" } node_prefix "" { policy = "read" }')).secret);
    catalog.put(meshService("db"), [hostEndpoint("h1", "10.0.0.1")]);
    catalog.put(meshService("web"), [hostEndpoint("h1", "10.0.0.1")]);
    const publisher = start({ tokenFile: changing });
    await reached("mesh-web", "passing");
    await failed(publisher, "MESH_PUBLISH_DENIED");
    assert.equal(publisher.status().lastError?.hint, 'the token needs service "mesh-db" { policy = "write" }');
    await writeFile(changing, (await consul.createToken('service_prefix "mesh-" { policy = "write" }')).secret);
    catalog.setHealth("default/web", "h1", "unhealthy");
    await writeFile(changing, "aaaaaaaa-2222-3333-4444-555555555555");
    await failed(publisher, "MESH_REGISTRY_DENIED");
    await writeFile(changing, (await consul.createToken(RULES)).secret);
    await reached("mesh-db", "passing");
    await reached("mesh-web", "critical");
    await well(publisher);
  });

  it("says that the token may not write the node, that there is no token, or no such datacenter", async () => {
    const without = join(folder, "without");
    await writeFile(without, (await consul.createToken('node_prefix "" { policy = "read" } service_prefix "mesh-" { policy = "write" }')).secret);
    catalog.put(meshService("web"), [hostEndpoint("h1", "10.0.0.1")]);
    const publisher = start({ tokenFile: without });
    await failed(publisher, "MESH_PUBLISH_DENIED");
    assert.equal(publisher.status().lastError?.hint, 'the token needs node "ironmesh" { policy = "write" }');
    await failed(start({ tokenFile: undefined }), "MESH_PUBLISH_DENIED");
    await failed(start({ datacenter: "nowhere" }), "MESH_REGISTRY_MISCONFIGURED");
    assert.deepEqual(await entries("mesh-web"), []);
  });

  it("outlives a Consul that stops and starts again, with its data and without", async () => {
    catalog.put(meshService("web"), [hostEndpoint("h1", "10.0.0.1"), hostEndpoint("h2", "10.0.0.2")]);
    const publisher = start();
    await reached("mesh-web", "passing,passing");
    await consul.stop();
    await failed(publisher, "MESH_REGISTRY_UNREACHABLE");
    catalog.setHealth("default/web", "h1", "unhealthy");
    await consul.start();
    await reached("mesh-web", "critical,passing");
    await well(publisher);

    await consul.stop();
    await rm(join(folder, "data"), { recursive: true });
    await consul.start();
    await failed(publisher, "MESH_REGISTRY_DENIED");
    await writeFile(tokenFile, (await consul.createToken(RULES)).secret);
    await reached("mesh-web", "critical,passing");
    await well(publisher);
  });

  it("removes what was published under another prefix and on another node", async () => {
    await writeFile(join(folder, "all"), MANAGEMENT_TOKEN);
    catalog.put(meshService("web"), [hostEndpoint("h1", "10.0.0.1")]);
    start({ node: "former", nameTemplate: "old-{name}", tokenFile: join(folder, "all") });
    await reached("old-web", "passing");
    await publishers.pop()?.close();
    const held = start({ tokenFile: join(folder, "all"), pacing: { holdMs: 3_600_000, gatherMs: 10, intervalMs: 200, writeIntervalMs: 10 } });
    await reached("mesh-web", "passing");
    assert.equal(await health("old-web"), "passing", "until hosts had their time to return");
    await held.close();
    publishers.pop();
    start({ tokenFile: join(folder, "all") });
    await reached("old-web", "");
    assert.doesNotMatch(JSON.stringify((await consul.call("GET", "/v1/catalog/nodes")).body), /former/);
  });

  it("does not touch another mesh's node", async () => {
    catalog.put(meshService("web"), [hostEndpoint("h1", "10.0.0.1")]);
    start({ owner: "other.example/consul" });
    await reached("mesh-web", "passing");
    const publisher = start();
    await failed(publisher, "MESH_PUBLISH_CONFLICT");
    assert.match(publisher.status().lastError?.message ?? "", /the node ironmesh in consul is that of other\.example\/consul/);
    assert.equal(await health("mesh-web"), "passing");
  });

  it("is a part of the control plane, which says what it does, and leaves it when it stops", async () => {
    const all = join(folder, "reading-too");
    await writeFile(all, (await consul.createToken(`${RULES} service_prefix "" { policy = "read" }`)).secret);
    const control = prepareControlPlane([{ kind: "consul", address: consul.address, tokenFile: all, publish: { from: ["static"], name: "mesh-{name}" } }]);
    try {
      control.write("mesh.yaml", MESH);
      await control.start();
      await reached("mesh-web", "passing");
      await waitUntil(async () => /^consul: publishes 1 instance of 1 service$/m.test(await control.ironmesh("get", "registries")), { what: "status" });
      await consul.register({ ID: "db", Name: "mesh-db", Address: "10.9.9.9", Port: 1 });
      control.write("db.yaml", MESH.replaceAll("web", "db"));
      await waitUntil(async () => /^consul: default\/db is not published: mesh-db in Consul is somebody else's/m.test(await control.ironmesh("get", "registries")), { what: "the note" });
      const [view] = (await control.api.get("/api/v1/registries") as RegistryView[]).filter(({ name }) => name === "consul");
      assert.deepEqual({ ...view?.published, notes: [] }, { services: 1, instances: 1, pending: 0, error: "", hint: "", failingSince: "", notes: [] });
    } finally {
      await control.close();
      await consul.deregister("db");
    }
    assert.equal(await health("mesh-web"), "passing");
  });

  it("publishes a thousand instances, no more than 64 operations at a time, and lets them all go", async () => {
    catalog.put(meshService("web"), Array.from({ length: 1_000 }, (_, at) => hostEndpoint(`h${at}`, `10.1.${Math.floor(at / 250)}.${(at % 250) + 1}`)));
    const publisher = start();
    await waitUntil(async () => (await entries("mesh-web")).length === 1_000, { what: "all to be published" });
    await well(publisher);
    catalog.remove("default/web");
    await reached("mesh-web", "");
  });
});
