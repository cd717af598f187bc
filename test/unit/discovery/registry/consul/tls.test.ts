import assert from "node:assert/strict";
import { systemClock } from "../../../../../base/clock.ts";
import { createConsulRegistry } from "../../../../../discovery/registry/consul/registry.ts";
import type { ConsulRegistryOptions } from "../../../../../discovery/registry/consul/registry.ts";
import type { TlsMaterial } from "../../../../../discovery/registry/consul/tls-line.ts";
import type { Registry } from "../../../../../discovery/registry/registry.ts";
import { FakeConsul } from "../../../../fakes/consul-server.ts";
import type { FakeTls } from "../../../../fakes/consul-server.ts";
import { createTestAuthority } from "../../../../support/test-authority.ts";
import { waitUntil } from "../../../../support/wait-until.ts";

const authority = createTestAuthority();
const { certificateChain, privateKey } = authority.mintNamed("localhost");
const server: FakeTls = { certificate: certificateChain, key: privateKey.revealText(), hasHttp2: true };

describe("consul registry over TLS", () => {
  let consul: FakeConsul;
  let registry: Registry;

  async function open(tls: FakeTls, changes: Partial<ConsulRegistryOptions> = {}): Promise<void> {
    consul = await new FakeConsul(tls).listen();
    registry = createConsulRegistry({
      name: "consul",
      namespace: "consul",
      meshDomain: "mesh.internal",
      address: consul.address,
      tls: async () => ({ ca: authority.root }),
      maxConnections: 8,
      clock: systemClock,
      pacing: { waitMs: 60_000, intervalMs: 5, resetHoldMs: 300, backoff: { baseMs: 20, maxMs: 50 } },
      ...changes,
    });
  }

  afterEach(async () => {
    await registry.close();
    await consul.close();
  });

  const failure = (): string | undefined => registry.status().lastError?.code;

  it("has a question at Consul for each of many services, on a few connections", async () => {
    await open(server);
    consul.put(...services(60));
    registry.start();
    await settled("the first content", () => registry.status().synced);
    await settled("a question for each", () => consul.held === 61);
    // The fake takes 20 at a time on a connection.
    assert.ok(consul.connections <= 5, `${consul.connections} connections`);
    assert.deepEqual(registry.status().notes, []);
    consul.put({ id: "s40-b", service: "s40", port: 80 });
    await settled("a change", () => sizeOf(registry, "s40") === 2);
  });

  it("goes on after all its connections were cut", async () => {
    await open(server);
    consul.put(...services(30));
    registry.start();
    await settled("the first content", () => registry.status().synced);
    consul.faults.isCut = true;
    consul.drop();
    await settled("the loss", () => failure() === "MESH_REGISTRY_UNREACHABLE");
    delete consul.faults.isCut;
    consul.put({ id: "s7-b", service: "s7", port: 80 });
    await settled("the content after", () => sizeOf(registry, "s7") === 2 && failure() === undefined);
    await settled("a question for each", () => consul.held === 31);
  });

  it("speaks HTTP/1.1 with whoever knows no other", async () => {
    await open({ ...server, hasHttp2: false });
    consul.put(...services(20));
    registry.start();
    await settled("the first content", () => registry.status().synced);
    await settled("fewer connections than services", () => registry.status().notes.some((note) => note.startsWith("20 services are more than 8")));
    consul.setChecks("s3", [{ CheckID: "c", Name: "probe", Status: "critical", Output: "" }]);
    await settled("a change", () => consul.questions.some(({ path, query }) => path === "/v1/health/state/critical" && query.has("index")));
    assert.ok(consul.highestOpen <= 8, `${consul.highestOpen} at a time`);
  });

  it("speaks HTTP/2 again with whoever knows it by now", async () => {
    await open({ ...server, hasHttp2: false }, { http2RetryMs: 200, pacing: { waitMs: 500, intervalMs: 5, resetHoldMs: 300, backoff: { baseMs: 20, maxMs: 50 } } });
    consul.put(...services(20));
    registry.start();
    const isCrowded = (): boolean => registry.status().notes.some((note) => note.startsWith("20 services are more than 8"));
    await settled("fewer connections than services", () => registry.status().synced && isCrowded());
    const { port } = consul;
    await consul.close();
    consul = await new FakeConsul(server).listen(port);
    consul.put(...services(20));
    await settled("a question for each", () => consul.held === 21 && !isCrowded());
    await settled("no failure", () => failure() === undefined);
    await settled("the end of the connections before", () => consul.openConnections <= 3);
  });

  it("shows its certificate where it is asked for one, and takes a renewed one without a restart", async () => {
    let material: TlsMaterial = { ca: authority.root };
    await open({ ...server, clientRoot: authority.root }, { tls: async () => material });
    consul.put(...services(1));
    registry.start();
    await settled("the refusal", () => failure() === "MESH_REGISTRY_UNREACHABLE");
    const client = authority.mintNamed("ironmesh");
    material = { ca: authority.root, certificate: client.certificateChain, key: client.privateKey };
    await settled("the content", () => sizeOf(registry, "s0") === 1 && failure() === undefined);
  });

  it("takes the name that it is told to expect, and no other", async () => {
    const named = authority.mintNamed("server.dc1.consul");
    const tls = { ...server, certificate: named.certificateChain, key: named.privateKey.revealText() };
    await open(tls);
    consul.put(...services(1));
    registry.start();
    await settled("the refusal", () => failure() === "MESH_REGISTRY_UNREACHABLE");
    assert.match(registry.status().lastError?.message ?? "", /localhost/);
    await registry.close();
    await consul.close();
    await open(tls, { serverName: "server.dc1.consul" });
    consul.put(...services(1));
    registry.start();
    await settled("the content", () => sizeOf(registry, "s0") === 1);
    assert.deepEqual([...new Set(consul.serverNames)], ["server.dc1.consul"]);
  });

  it("trusts no other root", async () => {
    await open(server, { tls: async () => ({ ca: createTestAuthority("other").root }) });
    registry.start();
    await settled("the refusal", () => failure() === "MESH_REGISTRY_UNREACHABLE");
    assert.equal(consul.questions.length, 0);
  });
});

function services(count: number) {
  return Array.from({ length: count }, (_, at) => ({ id: `s${at}`, service: `s${at}`, port: 80 }));
}

function sizeOf(registry: Registry, name: string): number {
  const backends = registry.services.get(name)?.backends;
  return backends?.kind === "explicit" ? backends.workloads.length : -1;
}

function settled(what: string, condition: () => boolean): Promise<boolean> {
  return waitUntil(condition, { what, intervalMs: 5, timeoutMs: 20_000 });
}
