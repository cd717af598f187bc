/** Ways to a real Consul: TLS and HTTP/2, sockets, few connections, several datacenters, no leader. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer } from "node:tls";
import type { Registry } from "../../discovery/registry/registry.ts";
import { ConsulAgent } from "../support/consul-agent.ts";
import { FAST, instancesOf, registration, startedRegistry } from "../support/consul-reading.ts";
import { consulPath } from "../support/consul.ts";
import { startCuttableRelay } from "../support/cuttable-relay.ts";
import { createTestAuthority } from "../support/test-authority.ts";
import { waitUntil } from "../support/wait-until.ts";

const MANAGEMENT_TOKEN = "11111111-2222-3333-4444-555555555555";
/** As docs/consul.md gives it. */
const READING = 'service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }';
const path = consulPath() ?? "";

(path === "" ? describe.skip : describe)(path === "" ? "ways to a consul (no consul binary and no Go to build one)" : "ways to a consul", () => {
  let folder: string;
  const running: ConsulAgent[] = [];
  const open: Registry[] = [];

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "ironmesh-consul-"));
  });

  after(() => rm(folder, { recursive: true }));

  afterEach(async () => {
    for (const registry of open.splice(0)) await registry.close();
    for (const agent of running.splice(0)) await agent.stop();
  });

  async function agent(options: Omit<Parameters<typeof ConsulAgent.start>[0], "path">): Promise<ConsulAgent> {
    const started = await ConsulAgent.start({ path, ...options });
    running.push(started);
    return started;
  }

  async function reading(...given: Parameters<typeof startedRegistry>): Promise<Registry> {
    const registry = await startedRegistry(...given);
    open.push(registry);
    return registry;
  }

  const synced = (registry: Registry): Promise<boolean> => waitUntil(() => registry.status().synced, { what: "the first content", intervalMs: 20 });
  const sizeOf = (registry: Registry, name: string): number => instancesOf(registry.services.get(name)).length;

  it("has a question for each of 400 services on a few connections, over HTTPS with a client certificate and a name to expect", async () => {
    const authority = createTestAuthority();
    const server = authority.mintNamed("server.dc1.consul");
    const client = authority.mintNamed("ironmesh");
    const [caFile, certificateFile, keyFile] = [join(folder, "ca"), join(folder, "certificate"), join(folder, "key")];
    await writeFile(caFile, authority.root);
    await writeFile(certificateFile, server.certificateChain);
    await writeFile(keyFile, server.privateKey.revealText());
    const consul = await agent({ managementToken: MANAGEMENT_TOKEN, https: { caFile, certificateFile, keyFile }, maxConnections: 12 });
    await register(consul, 400);
    const tokenFile = join(folder, "token");
    await writeFile(tokenFile, (await consul.createToken(READING)).secret);
    const stranger = await reading(consul.httpsAddress, { tokenFile, serverName: "server.dc1.consul", tls: async () => ({ ca: authority.root }) });
    await waitUntil(() => stranger.status().lastError?.code === "MESH_REGISTRY_UNREACHABLE", { what: "the refusal of a client without a certificate" });
    const registry = await reading(consul.httpsAddress, {
      tokenFile,
      serverName: "server.dc1.consul",
      tls: async () => ({ ca: authority.root, certificate: client.certificateChain, key: client.privateKey }),
      pacing: { ...FAST, waitMs: 60_000 },
    });
    await synced(registry);
    assert.deepEqual([registry.status().services, registry.status().notes, registry.status().lastError], [400, [], undefined]);
    await change(consul, 321);
    await waitUntil(() => sizeOf(registry, "s321") === 2, { what: "a change", intervalMs: 5 });
    assert.deepEqual(registry.status().counters?.failures, {});
  });

  it("speaks HTTP/2 once nothing is between that speaks HTTP/1.1 alone", async () => {
    const authority = createTestAuthority();
    const server = authority.mintNamed("server.dc1.consul");
    const client = authority.mintNamed("ironmesh");
    const [caFile, certificateFile, keyFile] = [join(folder, "ca-2"), join(folder, "certificate-2"), join(folder, "key-2")];
    await writeFile(caFile, authority.root);
    await writeFile(certificateFile, server.certificateChain);
    await writeFile(keyFile, server.privateKey.revealText());
    const consul = await agent({ https: { caFile, certificateFile, keyFile } });
    await register(consul, 60);
    const between = createServer({ cert: server.certificateChain, key: server.privateKey.revealText(), ALPNProtocols: ["http/1.1"] }, (incoming) => {
      const outgoing = connect(consul.httpPort, "127.0.0.1");
      incoming.pipe(outgoing).pipe(incoming);
      for (const [from, to] of [[incoming, outgoing], [outgoing, incoming]] as const) from.on("error", () => to.destroy()).on("close", () => to.destroy());
    });
    between.listen(0, "127.0.0.1");
    await once(between, "listening");
    const way = await startCuttableRelay((between.address() as AddressInfo).port);
    try {
      const registry = await reading(`https://127.0.0.1:${way.port}`, {
        serverName: "server.dc1.consul",
        tls: async () => ({ ca: authority.root, certificate: client.certificateChain, key: client.privateKey }),
        maxConnections: 10,
        http2RetryMs: 200,
        pacing: { ...FAST, sweepPerSecond: 200 },
      });
      const isCrowded = (): boolean => registry.status().notes.some((note) => note.startsWith("60 services are more than 10 connections can wait for"));
      await waitUntil(() => registry.status().synced && isCrowded(), { what: "the content over HTTP/1.1" });
      way.turn(Number(new URL(consul.httpsAddress).port));
      way.cut();
      way.mend();
      await waitUntil(() => !isCrowded() && registry.status().lastError === undefined, { what: "room for a question for each" });
      await change(consul, 42);
      await waitUntil(() => sizeOf(registry, "s42") === 2, { what: "a change" });
    } finally {
      await way.close();
      between.close();
    }
  });

  it("sees every change with fewer connections than services, by the rights of the guide alone", async () => {
    const consul = await agent({ managementToken: MANAGEMENT_TOKEN });
    await register(consul, 60);
    const tokenFile = join(folder, "token-few");
    await writeFile(tokenFile, (await consul.createToken(READING)).secret);
    const registry = await reading(consul.address, { tokenFile, maxConnections: 10, pacing: { ...FAST, waitMs: 60_000, sweepPerSecond: 200 } });
    await synced(registry);
    assert.match(registry.status().notes.join(), /60 services are more than 10 connections can wait for/);
    await check(consul, 17, "critical");
    await waitUntil(() => instancesOf(registry.services.get("s17"))[0]?.health === "unhealthy", { what: "a critical check" });
    await check(consul, 17, "passing");
    await waitUntil(() => instancesOf(registry.services.get("s17"))[0]?.health === "healthy", { what: "its recovery" });
    await change(consul, 42);
    await waitUntil(() => sizeOf(registry, "s42") === 2, { what: "an instance more" });
    await consul.transact([{ Node: { Verb: "set", Node: { Node: "n1", Address: "10.9.9.9" } } }]);
    await consul.transact([{ Check: { Verb: "set", Check: { Node: "n1", CheckID: "disk", Name: "disk", Status: "critical" } } }]);
    await waitUntil(() => instancesOf(registry.services.get("s1"))[0]?.health === "unhealthy", { what: "a critical check of the node" });
    await consul.transact([{ Service: { Verb: "delete", Node: "n5", Service: { ID: "s5-1", Service: "s5" } } }]);
    await waitUntil(() => sizeOf(registry, "s5") <= 0, { what: "the end of the last instance" });
    assert.equal(registry.status().lastError, undefined);
  });

  it("makes do with the connections that Consul gives, where those are fewer than it was told", async () => {
    const consul = await agent({ maxConnections: 15 });
    await register(consul, 60);
    const registry = await reading(consul.address, { pacing: { ...FAST, waitMs: 60_000, sweepPerSecond: 200 } });
    await synced(registry);
    assert.ok((registry.status().counters?.failures["MESH_REGISTRY_THROTTLED"] ?? 0) > 0, "Consul refused some");
    await waitUntil(() => registry.status().lastError === undefined, { what: "peace" });
    await check(consul, 17, "critical");
    await waitUntil(() => instancesOf(registry.services.get("s17"))[0]?.health === "unhealthy", { what: "a critical check", timeoutMs: 20_000 });
  });

  it("reads through a unix socket", async () => {
    const socket = join(folder, "consul.sock");
    const consul = await agent({ socket });
    await consul.register(registration("web", { id: "1", port: 80, isHealthy: true }));
    const registry = await reading(`unix://${socket}`);
    await waitUntil(() => sizeOf(registry, "web") === 1, { what: "the instance" });
  });

  it("goes on with another address when the one that it asks goes away", async () => {
    const consul = await agent({});
    await consul.register(registration("web", { id: "1", port: 80, isHealthy: true }));
    const way = await startCuttableRelay(consul.httpPort);
    try {
      const registry = await reading(`http://127.0.0.1:${way.port}`, { otherAddresses: [consul.address] });
      await waitUntil(() => sizeOf(registry, "web") === 1, { what: "the instance" });
      assert.equal(registry.status().lastError, undefined);
      way.cut();
      await consul.register(registration("web", { id: "2", port: 80, isHealthy: true }));
      await waitUntil(() => sizeOf(registry, "web") === 2 && registry.status().lastError === undefined, { what: "what was registered since" });
    } finally {
      await way.close();
    }
  });

  it("reads out of the agent's cache", async () => {
    const consul = await agent({});
    await consul.register(registration("web", { id: "1", port: 80, isHealthy: true }));
    const registry = await reading(consul.address, { usesAgentCache: true });
    await waitUntil(() => sizeOf(registry, "web") === 1, { what: "the instance" });
    await consul.register(registration("web", { id: "2", port: 80, isHealthy: true }), registration("web", { id: "3", port: 80, isHealthy: true }));
    await waitUntil(() => sizeOf(registry, "web") === 3, { what: "more" });
    await consul.deregister("web-1", "web-2");
    await waitUntil(() => sizeOf(registry, "web") === 1, { what: "a loss that only the leader can confirm" });
    assert.equal(registry.status().lastError, undefined);
  });

  it("says that a Consul without namespaces and partitions has none", async () => {
    const consul = await agent({});
    for (const asked of [{ consulNamespace: "team" }, { partition: "edge" }]) {
      const registry = await reading(consul.address, asked);
      await waitUntil(() => registry.status().lastError?.code === "MESH_REGISTRY_MISCONFIGURED", { what: "the refusal" });
      assert.match(registry.status().lastError?.message ?? "", /Enterprise/);
      assert.equal(registry.status().synced, false);
    }
  });

  it("takes 40 of 100 instances gone at once as they are", async () => {
    const consul = await agent({});
    const ids = Array.from({ length: 100 }, (_, at) => `web-${at}`);
    await consul.transact([
      { Node: { Verb: "set", Node: { Node: "n1", Address: "10.0.0.1" } } },
      ...ids.map((ID, at) => ({ Service: { Verb: "set", Node: "n1", Service: { ID, Service: "web", Address: `10.1.0.${at}`, Port: 80 } } })),
    ]);
    const registry = await reading(consul.address);
    await waitUntil(() => sizeOf(registry, "web") === 100, { what: "all of them" });
    const gone = (from: number, to: number): Promise<void> => consul.transact(ids.slice(from, to).map((ID) => ({ Service: { Verb: "delete", Node: "n1", Service: { ID, Service: "web" } } })));
    await gone(0, 40);
    await waitUntil(() => sizeOf(registry, "web") === 60, { what: "the loss of 40" });
    assert.deepEqual(instancesOf(registry.services.get("web")).map(({ name }) => name).sort(), ids.slice(40).sort());
    await gone(40, 99);
    await waitUntil(() => sizeOf(registry, "web") === 1, { what: "the loss of nearly all, which the leader confirms" });
    assert.equal(registry.status().lastError, undefined);
  });

  it("keeps two datacenters apart: one that is gone keeps its last good content and does not hold the other back", async () => {
    const here = await agent({ datacenter: "dc1" });
    const there = await agent({ datacenter: "dc2", joinWan: here });
    await here.register(registration("web", { id: "1", port: 80, isHealthy: true }));
    await there.register(registration("web", { id: "1", port: 80, isHealthy: true }), registration("web", { id: "2", port: 80, isHealthy: true }));
    await waitUntil(async () => ((await here.call("GET", "/v1/catalog/datacenters")).body as string[]).length === 2, { what: "the join of the datacenters" });
    const local = await reading(here.address, { name: "dc1" });
    const remote = await reading(here.address, { name: "dc2", datacenter: "dc2", namespace: "consul-dc2" });
    await waitUntil(() => sizeOf(local, "web") === 1 && sizeOf(remote, "web") === 2, { what: "both" });
    assert.deepEqual(remote.services.get("web")?.aliases, ["web.service.dc2.consul"]);
    assert.deepEqual(instancesOf(remote.services.get("web")).map(({ locality }) => locality.region), ["dc2", "dc2"]);
    assert.equal(new Set([local, remote].flatMap((registry) => instancesOf(registry.services.get("web")).map(({ key }) => key))).size, 3);
    await there.stop();
    await waitUntil(() => remote.status().lastError !== undefined, { what: "the loss of dc2" });
    assert.equal(sizeOf(remote, "web"), 2);
    await here.register(registration("web", { id: "9", port: 80, isHealthy: true }));
    await waitUntil(() => sizeOf(local, "web") === 2, { what: "a change in dc1" });
    assert.equal(local.status().lastError, undefined);
  });

  it("keeps what it knows while there is no leader, says so, and goes on with the next one", async () => {
    const first = await ConsulAgent.prepare({ path, cluster: { servers: 2, dataDir: join(folder, "one"), node: "one" } });
    const second = await ConsulAgent.prepare({ path, cluster: { servers: 2, dataDir: join(folder, "two"), node: "two", first } });
    running.push(first, second);
    await first.launch();
    await second.launch();
    await first.elected();
    await waitUntil(async () => ((await first.call("GET", "/v1/status/peers")).body as string[]).length === 2, { what: "the two to know each other" });
    await first.register(registration("web", { id: "1", port: 80, isHealthy: true }));
    const registry = await reading(first.address, { pacing: { ...FAST, waitMs: 500 } });
    await waitUntil(() => sizeOf(registry, "web") === 1, { what: "the instance" });
    await second.stop();
    await waitUntil(() => registry.status().lastError?.code === "MESH_REGISTRY_UNAVAILABLE", { what: "that there is no leader" });
    assert.equal(sizeOf(registry, "web"), 1);
    await second.start();
    await waitUntil(() => registry.status().lastError === undefined, { what: "the next leader" });
    await first.register(registration("web", { id: "2", port: 80, isHealthy: true }));
    await waitUntil(() => sizeOf(registry, "web") === 2, { what: "a change" });
  });
});

/** One instance each of `s0`, `s1`, … on ten nodes. */
async function register(consul: ConsulAgent, services: number): Promise<void> {
  await consul.transact([
    ...Array.from({ length: 10 }, (_, at) => ({ Node: { Verb: "set", Node: { Node: `n${at}`, Address: `10.0.0.${at}` } } })),
    ...Array.from({ length: services }, (_, at) => instance(at, 1)),
  ]);
}

function instance(service: number, id: number) {
  return { Service: { Verb: "set", Node: `n${service % 10}`, Service: { ID: `s${service}-${id}`, Service: `s${service}`, Address: `10.1.${id}.${service % 250}`, Port: 80 } } };
}

function change(consul: ConsulAgent, service: number): Promise<void> {
  return consul.transact([instance(service, 2)]);
}

function check(consul: ConsulAgent, service: number, Status: string): Promise<void> {
  return consul.transact([{ Check: { Verb: "set", Check: { Node: `n${service % 10}`, CheckID: `c${service}`, Name: "probe", Status, ServiceID: `s${service}-1` } } }]);
}
