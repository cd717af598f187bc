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
    open(changes).start();
    return registry;
  }

  function open(changes: Partial<ConsulRegistryOptions>): Registry {
    registry = createConsulRegistry({
      name: "consul",
      namespace: "consul",
      meshDomain: "mesh.internal",
      address: consul.address,
      clock: systemClock,
      pacing: { waitMs: 2_000, intervalMs: 5, resetHoldMs: 300, backoff: { baseMs: 20, maxMs: 50 } },
      ...changes,
    });
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

  it("leaves alone what it is told to, however somebody spells it", async () => {
    consul.put(...web(1), { id: "vault-1", service: "vault", port: 8_200 }, { id: "vault-2", service: "Vault", port: 8_200 });
    start({ ignoredServices: ["vault"] });
    await settled("the first content", () => registry.status().synced);
    assert.deepEqual([...registry.services.entries().keys()], ["web"]);
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

  it("says that there is no leader, and is as old as the last word of one", async () => {
    consul.put(...web(1));
    start();
    await settled("the first content", () => registry.status().synced);
    await settled("the questions to wait", () => consul.held === 2);
    const lostAt = Date.now();
    await new Promise((resolve) => setTimeout(resolve, 2));
    consul.faults.isLeaderless = true;
    const { wakesWithoutChange = 0 } = registry.status().counters ?? {};
    consul.wake();
    await failed("MESH_REGISTRY_UNAVAILABLE");
    assert.match(registry.status().lastError?.message ?? "", /no leader/);
    await settled("the answers of both", () => (registry.status().counters?.wakesWithoutChange ?? 0) >= wakesWithoutChange + 2);
    assert.ok((registry.status().ageMs ?? 0) >= Date.now() - lostAt, "although it answered since");
    delete consul.faults.isLeaderless;
    consul.wake();
    await settled("the end", () => failure() === undefined);
  });

  it("does not leave questions to wait at a server that lost its leader", async () => {
    const other = await new FakeConsul().listen();
    try {
      for (const server of [consul, other]) server.put(...web(2));
      start({ otherAddresses: [other.address], pacing: { waitMs: 600_000, maxWaitMs: 600_000, intervalMs: 5 } });
      await settled("the questions to wait", () => size() === 2 && consul.held === 2);
      consul.faults.isLeaderless = true;
      other.remove("web-1");
      consul.wake("");
      await settled("what the other one knows", () => size() === 1);
    } finally {
      await other.close();
    }
  });

  it("does not know health any more that nobody confirmed for long, and knows it again", async () => {
    consul.put(...web(2));
    start({ maxAgeMs: 150 });
    await settled("the first content", () => registry.status().synced);
    const healths = (): string => {
      const backends = registry.services.get("web")?.backends;
      return backends?.kind === "explicit" ? backends.workloads.map(({ health }) => health).join() : "";
    };
    consul.faults.isCut = true;
    consul.drop();
    await settled("old age", () => healths() === "unknown,unknown");
    delete consul.faults.isCut;
    await settled("news", () => healths() === "healthy,healthy");
  });

  it("is neither older nor younger because somebody set the clock", async () => {
    let stepMs = 0;
    consul.put(...web(1));
    start({ clock: { ...systemClock, now: () => systemClock.now() + stepMs } });
    await settled("the first content", () => registry.status().synced);
    stepMs = 3 * 3_600_000;
    assert.ok((registry.status().ageMs ?? Infinity) < 60_000);
    consul.faults.isCut = true;
    consul.drop();
    await failed("MESH_REGISTRY_UNREACHABLE");
    stepMs = -3 * 3_600_000;
    const { ageMs: before = 0 } = registry.status();
    await settled("its age to grow", () => (registry.status().ageMs ?? 0) > before);
  });

  it("takes the loss of 40 of 100 without a question more, and of 60 after one to the leader", async () => {
    const many = (count: number): FakeInstance[] => Array.from({ length: count }, (_, at) => ({ id: `m-${at}`, service: "m", port: 80 }));
    consul.put(...many(100));
    start();
    await settled("the first content", () => registry.status().synced);
    consul.remove(...many(40).map(({ id }) => id));
    await settled("the loss of 40", () => size("m") === 60);
    assert.ok(!consul.questions.some(({ query }) => query.has("consistent")));
    consul.remove(...many(100).slice(0, 90).map(({ id }) => id));
    await settled("the loss of 50 of 60", () => size("m") === 10);
    assert.equal(consul.questions.filter(({ query }) => query.has("consistent")).length, 1);
    assert.equal(failure(), undefined);
  });

  it("does not take a server that lags for one whose data was reset", async () => {
    consul.put(...web(4));
    start({ pacing: { waitMs: 2_000, intervalMs: 5, resetHoldMs: 60_000, backoff: { baseMs: 20, maxMs: 50 } } });
    await settled("the first content", () => registry.status().synced);
    // Its data is that of before, and then it is right that three are gone.
    consul.faults.staleIndexLag = 5;
    consul.remove("web-0", "web-1", "web-2");
    await settled("the loss", () => size() === 1 && failure() === undefined);
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

  it("says that a token sees a part only", async () => {
    consul.put(...web(1));
    start();
    await settled("the first content", () => registry.status().synced);
    assert.doesNotMatch(registry.status().notes.join(), /may not read everything/);
    consul.faults.isPartlyFiltered = true;
    consul.put({ id: "db", service: "db", port: 1 });
    await settled("the note, and the part", () => /may not read everything/.test(registry.status().notes.join()) && size("db") === 1);
  });

  it("sees what a token may read from now on, though no index tells of it", async () => {
    consul.put(...web(1), { id: "db", service: "db", port: 1 });
    consul.faults.hidden = new Set(["db"]);
    start();
    await settled("the part, and the note", () => registry.status().synced && /may not read everything/.test(registry.status().notes.join()));
    assert.equal(registry.services.get("db"), undefined);
    delete consul.faults.hidden;
    await settled("questions that wait", () => consul.held > 0);
    consul.wake();
    await settled("all of it, without the note", () => size("db") === 1 && !/may not read everything/.test(registry.status().notes.join()));
  });

  const health = (service = "web"): string | undefined => {
    const backends = registry.services.get(service)?.backends;
    return backends?.kind === "explicit" ? backends.workloads[0]?.health : undefined;
  };

  for (const [what, faults] of [["does", {}], ["does not", { isLeaderless: true, isWithoutQuorum: true }]] as const) {
    it(`goes back to nothing that a server says that lags and ${what} know a leader`, async () => {
      consul.put(...web(3), { id: "old", service: "old", port: 1 });
      const past = consul.state();
      start();
      await settled("the first content", () => registry.status().synced);
      consul.remove("old", "web-2");
      consul.setChecks("web-0", [{ CheckID: "c", Name: "c", Status: "critical", Output: "" }]);
      consul.put({ id: "new", service: "new", port: 1 });
      await settled("the content after", () => size("new") === 1 && size() === 2 && health() === "unhealthy");
      const changes: string[] = [];
      registry.services.subscribe((all) => changes.push(...all.map(({ key }) => key)));
      Object.assign(consul.faults, faults, { past });
      const { failures: before = {} } = registry.status().counters ?? {};
      consul.drop();
      const count = (all: Readonly<Record<string, number>>): number => all["MESH_REGISTRY_UNAVAILABLE"] ?? 0;
      if (what === "does") await settled("questions to the leader", () => consul.questions.filter(({ path, query }) => path.endsWith("/web") && query.has("consistent")).length > 1);
      else await settled("the refusals", () => failure() === "MESH_REGISTRY_UNAVAILABLE" && count(registry.status().counters?.failures ?? {}) > count(before) + 9);
      assert.deepEqual([changes, size("old"), size("new"), size(), health()], [[], -1, 1, 2, "unhealthy"]);
      for (const fault of ["isLeaderless", "isWithoutQuorum", "past"] as const) delete consul.faults[fault];
      consul.put({ id: "web-9", service: "web", port: 80 });
      await settled("what is new", () => size() === 3 && failure() === undefined);
    });
  }

  it("does not wait for one service that Consul cannot tell of, and names it", async () => {
    consul.put(...web(1), { id: "db", service: "db", port: 1 });
    consul.faults.broken = new Set(["db"]);
    start();
    await settled("the others", () => registry.status().synced && size("web") === 1);
    assert.match(registry.status().notes.join(), /^db: consul answered 500/);
    assert.equal(failure(), "MESH_REGISTRY_UNAVAILABLE");
    delete consul.faults.broken;
    await settled("that one too", () => size("db") === 1 && failure() === undefined);
  });

  it("notes which instances have a Connect sidecar, and stops when they have none", async () => {
    consul.put(...web(2), { id: "web-1-sidecar-proxy", service: "web-sidecar-proxy", kind: "connect-proxy", port: 21_000, sidecarOf: { service: "web", id: "web-1" } });
    start();
    await settled("the first content", () => registry.status().synced);
    assert.deepEqual(registry.services.get("web")?.notes, ["1 of 2 instances have a Connect sidecar: the mesh calls the application's own port"]);
    assert.equal(registry.services.get("web-sidecar-proxy"), undefined);
    consul.remove("web-1-sidecar-proxy");
    await settled("the end of the note", () => registry.services.get("web")?.notes.length === 0);
  });

  it("says once what many services suffer from", async () => {
    consul.put(...Array.from({ length: 9 }, (_, at) => ({ id: `s${at}`, service: `s${at}`, port: 80 })));
    start();
    await settled("the first content", () => registry.status().synced);
    consul.faults.isHealthDenied = true;
    consul.wake();
    await settled("one line for all", () => registry.status().notes.includes("s0, s1, s2 and 6 more services: consul answered 403: Permission denied"));
    assert.equal(registry.status().notes.length, 1);
    assert.deepEqual([registry.status().lastError?.code, registry.status().lastError?.message], ["MESH_REGISTRY_DENIED", registry.status().notes[0]]);
  });

  it("ends its questions at once when it is closed", async () => {
    consul.put(...web(1));
    start({ pacing: { waitMs: 600_000, maxWaitMs: 600_000 } });
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
