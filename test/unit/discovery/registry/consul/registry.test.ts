import assert from "node:assert/strict";
import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../../../../base/clock.ts";
import { createConsulRegistry } from "../../../../../discovery/registry/consul/registry.ts";
import type { ConsulRegistryOptions } from "../../../../../discovery/registry/consul/registry.ts";
import type { Registry } from "../../../../../discovery/registry/registry.ts";
import { FakeConsul } from "../../../../fakes/consul-server.ts";
import type { FakeInstance } from "../../../../fakes/consul-server.ts";
import { waitUntil } from "../../../../support/wait-until.ts";

describe("consul registry", () => {
  let consul: FakeConsul;
  let registry: Registry;
  let folder: string;

  function start(changes: Partial<ConsulRegistryOptions> = {}): Registry {
    registry = createConsulRegistry({
      name: "consul",
      namespace: "consul",
      meshDomain: "mesh.internal",
      address: consul.address,
      clock: systemClock,
      pacing: { waitMs: 2_000, contendedWaitMs: 50, intervalMs: 5, resetHoldMs: 300, backoff: { baseMs: 20, maxMs: 50 } },
      ...changes,
    });
    registry.start();
    return registry;
  }

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "ironmesh-consul-"));
    consul = await new FakeConsul().listen();
  });

  afterEach(async () => {
    await registry.close();
    await consul.close();
    await rm(folder, { recursive: true });
  });

  const size = (service = "web"): number => sizeOf(registry, service);
  const failure = (): string | undefined => registry.status().lastError?.code;
  const failed = (code: string): Promise<boolean> => settled(code, () => failure() === code);

  it("publishes the first content as a whole, and then every change", async () => {
    consul.put(...web(2), { id: "db", service: "db", port: 5_432 });
    const seen: number[] = [];
    start().services.subscribe((changes) => seen.push(changes.length));
    await settled("the first content", () => registry.status().synced);
    assert.deepEqual(seen, [2]);
    consul.put({ id: "web-2", service: "web", port: 80 });
    await settled("an instance more", () => size() === 3);
    consul.remove("db");
    await settled("a service less", () => registry.services.get("db") === undefined);
    assert.equal(failure(), undefined);
  });

  it("reads stale, blocks by index, and emits nothing for an answer that changes nothing", async () => {
    consul.put(...web(1));
    start();
    await settled("the first content", () => registry.status().synced);
    let changes = 0;
    registry.services.subscribe(() => (changes += 1));
    const before = consul.questions.length;
    consul.wake();
    await settled("more questions", () => consul.questions.length > before + 1);
    assert.equal(changes, 0);
    const asked = consul.questions.at(-1);
    assert.equal(asked?.query.get("stale"), "1");
    assert.notEqual(asked?.query.get("index"), "0");
  });

  for (const [what, faults, code] of [
    ["is cut off", { isCut: true }, "MESH_REGISTRY_UNREACHABLE"],
    ["has no leader", { status: 500, body: "No cluster leader" }, "MESH_REGISTRY_UNAVAILABLE"],
    ["refuses the token", { status: 403, body: "ACL not found" }, "MESH_REGISTRY_DENIED"],
    ["refuses connections", { status: 429, body: "Your IP is issuing too many concurrent connections" }, "MESH_REGISTRY_THROTTLED"],
    ["leaves everything out", { isFiltered: true }, "MESH_REGISTRY_DENIED"],
    ["answers nonsense", { status: 200, body: "<html>" }, "MESH_REGISTRY_MALFORMED"],
  ] as const) {
    it(`keeps the last good content while Consul ${what}`, async () => {
      consul.put(...web(2));
      start();
      await settled("the first content", () => registry.status().synced);
      Object.assign(consul.faults, faults);
      consul.wake();
      await failed(code);
      assert.equal(size(), 2);
      assert.equal(registry.status().synced, true);
      for (const fault of Object.keys(faults)) delete consul.faults[fault as keyof typeof faults];
      consul.put({ id: "web-9", service: "web", port: 80 });
      await settled("the content after", () => size() === 3 && failure() === undefined);
    });
  }

  it("takes the loss of everything when a leader confirms it, and not before", async () => {
    consul.put(...web(4), { id: "db", service: "db", port: 5_432 }, { id: "mq", service: "mq", port: 1 });
    start();
    await settled("the first content", () => registry.status().synced);
    consul.faults.isWithoutQuorum = true;
    consul.remove("web-0", "web-1", "web-2");
    await failed("MESH_REGISTRY_UNAVAILABLE");
    assert.equal(size(), 4);
    delete consul.faults.isWithoutQuorum;
    await settled("the confirmed loss", () => size() === 1);
  });

  it("takes no loss from a server that knows no leader", async () => {
    consul.put(...web(4));
    start();
    await settled("the first content", () => registry.status().synced);
    consul.faults.isLeaderless = true;
    consul.remove("web-0");
    await failed("MESH_REGISTRY_UNAVAILABLE");
    assert.equal(size(), 4);
    delete consul.faults.isLeaderless;
    await settled("the loss", () => size() === 3);
  });

  it("does not believe a reset at once, and then does", async () => {
    consul.put(...web(4));
    start({ pacing: { waitMs: 2_000, intervalMs: 5, resetHoldMs: 1_500, backoff: { baseMs: 20, maxMs: 50 } } });
    await settled("the first content", () => registry.status().synced);
    consul.reset();
    await failed("MESH_REGISTRY_SHRUNK");
    assert.equal(size(), 4);
    consul.put(...web(3));
    await settled("agents that registered again", () => size() === 3 && failure() === undefined);
    consul.reset();
    await settled("what stays gone", () => registry.services.entries().size === 0);
  });

  it("is not synced by an anonymous empty answer", async () => {
    consul.put(...web(1));
    consul.tokens = new Set(["secret"]);
    start();
    await failed("MESH_REGISTRY_DENIED");
    assert.equal(registry.status().synced, false);
  });

  it("reads the token file again when it changes", async () => {
    const tokenFile = join(folder, "token");
    await writeFile(tokenFile, "first\n");
    consul.put(...web(1));
    consul.tokens = new Set(["first"]);
    start({ tokenFile });
    await settled("the first content", () => registry.status().synced);
    consul.tokens = new Set(["second"]);
    consul.wake();
    await failed("MESH_REGISTRY_DENIED");
    assert.equal(size(), 1);
    await writeFile(`${tokenFile}.new`, "second\n");
    await rename(`${tokenFile}.new`, tokenFile);
    await settled("the rotated token", () => failure() === undefined);
    assert.ok(consul.questions.every(({ query }) => !query.has("token")), "tokens travel in headers");
  });

  it("watches more services than it has connections", async () => {
    const services = Array.from({ length: 30 }, (_, at): FakeInstance => ({ id: `s${at}`, service: `s${at}`, port: 80 }));
    consul.put(...services);
    start({ maxConnections: 5 });
    await settled("the first content", () => registry.status().synced);
    consul.put({ id: "s17-b", service: "s17", port: 80 });
    await settled("a change of a waiting service", () => size("s17") === 2);
    assert.ok(consul.highestOpen <= 5, `${consul.highestOpen} connections at a time`);
  });

  it("ends its questions at once when it is closed", async () => {
    consul.put(...web(1));
    start({ pacing: { waitMs: 600_000 } });
    // That of the list and that of web: no further one is on its way.
    await settled("the questions to wait", () => consul.held === 2);
    await registry.close();
    const asked = consul.questions.length;
    consul.wake();
    await new Promise(setImmediate);
    assert.equal(consul.questions.length, asked);
  });
});

function sizeOf(registry: Registry, name: string): number {
  const backends = registry.services.get(name)?.backends;
  return backends?.kind === "explicit" ? backends.workloads.length : -1;
}

function web(count: number): FakeInstance[] {
  return Array.from({ length: count }, (_, at) => ({ id: `web-${at}`, service: "web", address: `10.1.0.${at}`, port: 80 }));
}

function settled(what: string, condition: () => boolean): Promise<boolean> {
  return waitUntil(condition, { what, intervalMs: 5, timeoutMs: 20_000 });
}
