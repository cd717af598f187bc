import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ConsulAgent } from "../support/consul-agent.ts";
import { FAST, instancesOf, registration, startedRegistry } from "../support/consul-reading.ts";
import { consulPath } from "../support/consul.ts";
import { startCuttableRelay } from "../support/cuttable-relay.ts";
import { describeRegistryConformance } from "../support/registry-conformance.ts";
import type { SampleInstance } from "../support/registry-conformance.ts";
import { waitUntil } from "../support/wait-until.ts";

const MANAGEMENT_TOKEN = "11111111-2222-3333-4444-555555555555";
const path = consulPath();

(path === undefined ? describe.skip : describe)(path === undefined ? "consul (no consul binary and no Go to build one)" : "consul", () => {
  describe("without ACLs", () => {
    let consul: ConsulAgent;

    before(async () => {
      consul = await ConsulAgent.start({ path: path ?? "" });
    });

    after(() => consul.stop());

    describeRegistryConformance({
      numRuns: 5,
      async open() {
        const relay = await startCuttableRelay(consul.httpPort);
        const known = new Map<string, readonly SampleInstance[]>();
        const registry = await startedRegistry(`http://127.0.0.1:${relay.port}`);
        return {
          registry,
          async set(service, instances) {
            const staying = new Set(instances.map(({ id }) => id));
            const gone = (known.get(service) ?? []).filter(({ id }) => !staying.has(id));
            known.set(service, instances);
            await consul.register(...instances.map((one) => registration(service, one)));
            await consul.deregister(...gone.map(({ id }) => `${service}-${id}`));
          },
          disconnect: async () => relay.cut(),
          reconnect: async () => relay.mend(),
          fresh: () => startedRegistry(consul.address),
          async close() {
            await registry.close();
            for (const [service, instances] of known) await consul.deregister(...instances.map(({ id }) => `${service}-${id}`));
            await relay.close();
          },
        };
      },
    });

    it("reads addresses, ports, weights, labels, health and kinds as the real one writes them", async () => {
      await consul.register(
        {
          ID: "web-1",
          Name: "web",
          Address: "10.1.0.1",
          Port: 8_080,
          Tags: ["http", "v2", "team=a"],
          Meta: { protocol: "http2" },
          Weights: { Passing: 5, Warning: 2 },
          Connect: { SidecarService: { Port: 21_000 } },
        },
        { ID: "web-2", Name: "web", Address: "10.1.0.2", Port: 8_080, Meta: { protocol: "http2" }, Weights: { Passing: 5, Warning: 2 }, Check: { TTL: "1h", Status: "warning", Name: "slow" } },
        { ID: "web-3", Name: "web", Port: 8_080 },
        { ID: "web-4", Name: "web", Address: "10.1.0.4", Port: 80_800 },
        { ID: "many", Name: "many", Address: "10.1.0.3", Ports: [{ Name: "http", Port: 80, Default: true }, { Name: "grpc", Port: 90 }] },
        { ID: "v6", Name: "v6", Address: "fd00::1", Port: 1 },
        { ID: "named", Name: "named", Address: "db.example.com", Port: 5_432 },
      );
      const registry = await startedRegistry(consul.address);
      try {
        await waitUntil(() => registry.status().synced, { what: "the first content" });
        const web = registry.services.get("web");
        assert.deepEqual(web?.ports, [{ name: "", number: 8_080, protocol: "HTTP2" }]);
        assert.deepEqual(web?.aliases, ["web.service.dc1.consul", "web.service.consul"]);
        const [first, second] = instancesOf(web);
        assert.equal(first?.addresses[0], "10.1.0.1");
        assert.equal(first?.weight, 5);
        assert.deepEqual(first?.labels, { protocol: "http2", "tag/http": "true", "tag/v2": "true", team: "a", version: "v2" });
        assert.deepEqual([second?.addresses[0], second?.weight, second?.health], ["10.1.0.2", 2, "healthy"]);
        assert.match(web?.notes.join() ?? "", /web-3 has the address 127\.0\.0\.1/, "the node's address, which is this Consul's own loopback");
        assert.match(web?.notes.join() ?? "", /web-4 has the port 80800, which is none/);
        assert.deepEqual(registry.services.get("many")?.ports.map(({ name, number, protocol }) => [name, number, protocol]), [["http", 80, "HTTP"], ["grpc", 90, "GRPC"]]);
        assert.equal(instancesOf(registry.services.get("v6"))[0]?.addresses[0], "fd00::1");
        assert.equal(registry.services.get("named")?.resolution, "dns");
        assert.equal(registry.services.get("web-sidecar-proxy"), undefined);
        assert.equal(registry.services.get("consul"), undefined);
        await consul.call("PUT", "/v1/agent/service/maintenance/web-1?enable=true&reason=upgrade");
        await waitUntil(() => instancesOf(registry.services.get("web"))[0]?.health === "draining", { what: "maintenance" });
        assert.equal(instancesOf(registry.services.get("web"))[0]?.healthDetail, "maintenance: upgrade");
      } finally {
        await registry.close();
        await consul.deregister("web-1", "web-2", "web-3", "web-4", "many", "v6", "named");
      }
    });

    it("takes the address that a node has for other datacenters, where its service has none of its own", async () => {
      await consul.call("PUT", "/v1/catalog/register", { Node: "far", Address: "10.2.0.1", TaggedAddresses: { wan: "203.0.113.7" }, Service: { ID: "far-1", Service: "far", Port: 80 } });
      const [lan, wan] = await Promise.all([startedRegistry(consul.address), startedRegistry(consul.address, { addressTag: "wan" })]);
      try {
        await waitUntil(() => lan.status().synced && wan.status().synced, { what: "the first content" });
        assert.deepEqual([lan, wan].map(({ services }) => instancesOf(services.get("far"))[0]?.addresses), [["10.2.0.1"], ["203.0.113.7"]]);
      } finally {
        await lan.close();
        await wan.close();
        await consul.call("PUT", "/v1/catalog/deregister", { Node: "far" });
      }
    });

    it("takes names that differ in case alone for one service, as Consul does, and loses nothing when one of them goes", async () => {
      await consul.register({ ID: "a", Name: "Shop", Address: "10.3.0.1", Port: 80 }, { ID: "b", Name: "shop", Address: "10.3.0.2", Port: 80 });
      const registry = await startedRegistry(consul.address);
      const addresses = (): string[] => [...registry.services.entries().values()].flatMap((service) => instancesOf(service)).flatMap((one) => one.addresses).sort();
      try {
        await waitUntil(() => registry.status().synced, { what: "the first content" });
        assert.deepEqual([...registry.services.entries().keys()], ["Shop"]);
        assert.deepEqual(addresses(), ["10.3.0.1", "10.3.0.2"]);
        const seen = new Set<number>();
        registry.services.subscribe(() => seen.add(addresses().length));
        await consul.deregister("a");
        await consul.register({ ID: "marker", Name: "marker", Address: "10.3.0.3", Port: 80 });
        await waitUntil(() => addresses().join() === "10.3.0.2,10.3.0.3", { what: "the end of one of them" });
        assert.equal(seen.has(0), false);
        await consul.deregister("b");
        await waitUntil(() => addresses().join() === "10.3.0.3", { what: "the end of the service" });
      } finally {
        await registry.close();
        for (const id of ["a", "b", "marker"]) await consul.call("PUT", `/v1/agent/service/deregister/${id}`);
      }
    });

    it("takes the end of the last instance at once, and names a wrong datacenter", async () => {
      await consul.register(registration("solo", { id: "1", port: 80, isHealthy: true }));
      const registry = await startedRegistry(consul.address);
      const lost = await startedRegistry(consul.address, { datacenter: "nowhere" });
      try {
        await waitUntil(() => instancesOf(registry.services.get("solo")).length === 1, { what: "the instance" });
        await consul.deregister("solo-1");
        await waitUntil(() => registry.services.get("solo") === undefined, { what: "its end" });
        await waitUntil(() => lost.status().lastError?.code === "MESH_REGISTRY_MISCONFIGURED", { what: "a wrong datacenter" });
        assert.equal(lost.status().synced, false);
      } finally {
        await registry.close();
        await lost.close();
      }
    });

    it("outlives a Consul that stops, starts again without its data, and gets it back", async () => {
      await consul.register(...["1", "2", "3"].map((id) => registration("kept", { id, port: 80, isHealthy: true })));
      // Some changes more, so that the new server's index is behind the old one's.
      for (let round = 0; round < 10; round += 1) await consul.register(registration("churn", { id: "1", port: 1_000 + round, isHealthy: true }));
      const registry = await startedRegistry(consul.address, { pacing: { ...FAST, resetHoldMs: 60_000 } });
      try {
        await waitUntil(() => instancesOf(registry.services.get("kept")).length === 3, { what: "the instances" });
        await consul.stop();
        await waitUntil(() => registry.status().lastError?.code === "MESH_REGISTRY_UNREACHABLE", { what: "the loss" });
        assert.equal(instancesOf(registry.services.get("kept")).length, 3);
        await consul.start();
        await waitUntil(() => registry.status().lastError?.code === "MESH_REGISTRY_SHRUNK", { what: "the reset to show" });
        assert.equal(instancesOf(registry.services.get("kept")).length, 3);
        await consul.register(...["1", "2", "3", "4"].map((id) => registration("kept", { id, port: 80, isHealthy: true })), registration("churn", { id: "1", port: 1, isHealthy: true }));
        await waitUntil(() => instancesOf(registry.services.get("kept")).length === 4, { what: "the instances again" });
        await waitUntil(() => registry.status().lastError === undefined, { what: "the end of the failure" });
      } finally {
        await registry.close();
        await consul.deregister("kept-1", "kept-2", "kept-3", "kept-4", "churn-1");
      }
    });
  });

  describe("with ACLs that deny", () => {
    let consul: ConsulAgent;
    let folder: string;

    before(async () => {
      folder = await mkdtemp(join(tmpdir(), "ironmesh-consul-"));
      consul = await ConsulAgent.start({ path: path ?? "", managementToken: MANAGEMENT_TOKEN });
      await consul.register(registration("web", { id: "1", port: 80, isHealthy: true }));
    });

    after(async () => {
      await consul.stop();
      await rm(folder, { recursive: true });
    });

    const reading = 'service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }';

    it("does not take a stranger's empty answer for the truth", async () => {
      const registry = await startedRegistry(consul.address);
      await waitUntil(() => registry.status().lastError?.code === "MESH_REGISTRY_DENIED", { what: "the denial" });
      assert.equal(registry.status().synced, false);
      await registry.close();
    });

    for (const [what, rules] of [["services but not nodes", 'service_prefix "" { policy = "read" }'], ["nodes but not services", 'node_prefix "" { policy = "read" }']] as const) {
      it(`says what a token lacks that may read ${what}`, async () => {
        const tokenFile = join(folder, "narrow");
        await writeFile(tokenFile, (await consul.createToken(rules)).secret);
        const registry = await startedRegistry(consul.address, { tokenFile });
        await waitUntil(() => registry.status().lastError?.code === "MESH_REGISTRY_DENIED", { what: "the denial" });
        assert.match(registry.status().lastError?.hint ?? "", /node:read/);
        assert.equal(registry.services.entries().size, 0);
        await registry.close();
      });
    }

    it("reads the one service that a token may read, and says that there is more", async () => {
      await consul.register(registration("secret", { id: "1", port: 80, isHealthy: true }));
      const tokenFile = join(folder, "one");
      await writeFile(tokenFile, (await consul.createToken('service "web" { policy = "read" } node_prefix "" { policy = "read" }')).secret);
      const registry = await startedRegistry(consul.address, { tokenFile });
      await waitUntil(() => instancesOf(registry.services.get("web")).length === 1, { what: "the instance" });
      assert.deepEqual([...registry.services.entries().keys()], ["web"]);
      assert.match(registry.status().notes.join(), /may not read everything/);
      assert.equal(registry.status().lastError, undefined);
      await registry.close();
    });

    it("keeps the last good content when its token is deleted, and goes on with a new one in the file", async () => {
      const tokenFile = join(folder, "token");
      const first = await consul.createToken(reading);
      await writeFile(tokenFile, `${first.secret}\n`);
      const registry = await startedRegistry(consul.address, { tokenFile });
      try {
        await waitUntil(() => instancesOf(registry.services.get("web")).length === 1, { what: "the instance" });
        await consul.call("DELETE", `/v1/acl/token/${first.accessor}`);
        await waitUntil(() => registry.status().lastError?.code === "MESH_REGISTRY_DENIED", { what: "the denial" });
        assert.equal(instancesOf(registry.services.get("web")).length, 1);
        await writeFile(tokenFile, `${(await consul.createToken(reading)).secret}\n`);
        await waitUntil(() => registry.status().lastError === undefined, { what: "the new token" });
        await consul.register(registration("web", { id: "2", port: 80, isHealthy: true }));
        await waitUntil(() => instancesOf(registry.services.get("web")).length === 2, { what: "the new instance" });
      } finally {
        await registry.close();
      }
    });
  });
});
