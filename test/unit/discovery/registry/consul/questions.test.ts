/** How the questions to a Consul are shared out, and whom they go to. */
import assert from "node:assert/strict";
import { systemClock } from "../../../../../base/clock.ts";
import { createConsulRegistry } from "../../../../../discovery/registry/consul/registry.ts";
import type { ConsulRegistryOptions } from "../../../../../discovery/registry/consul/registry.ts";
import type { Registry } from "../../../../../discovery/registry/registry.ts";
import { FakeConsul } from "../../../../fakes/consul-server.ts";
import type { FakeInstance } from "../../../../fakes/consul-server.ts";
import { waitUntil } from "../../../../support/wait-until.ts";

describe("questions to consul", () => {
  let consul: FakeConsul;
  let registry: Registry;

  function start(changes: Partial<ConsulRegistryOptions> = {}): void {
    registry = createConsulRegistry({
      name: "consul",
      namespace: "consul",
      meshDomain: "mesh.internal",
      address: consul.address,
      clock: systemClock,
      pacing: { waitMs: 2_000, intervalMs: 5, resetHoldMs: 300, backoff: { baseMs: 20, maxMs: 50 } },
      ...changes,
    });
    registry.start();
  }

  beforeEach(async () => {
    consul = await new FakeConsul().listen();
  });

  afterEach(async () => {
    await registry.close();
    await consul.close();
  });

  const size = (service = "web"): number => sizeOf(registry, service);
  const failure = (): string | undefined => registry.status().lastError?.code;
  const failed = (code: string): Promise<boolean> => settled(code, () => failure() === code);

  /** Nothing is asked any more. */
  const silence = async (): Promise<void> => {
    let before = -1;
    await waitUntil(
      () => {
        const isSilent = before === consul.questions.length;
        before = consul.questions.length;
        return isSilent;
      },
      { what: "silence", intervalMs: 200 },
    );
  };

  it("hears of health at once where there are more services than connections, and says that the rest may be late", async () => {
    const services = Array.from({ length: 30 }, (_, at): FakeInstance => ({ id: `s${at}`, service: `s${at}`, port: 80 }));
    consul.put(...services);
    start({ maxConnections: 8 });
    await settled("the first content", () => registry.status().synced);
    assert.match(registry.status().notes.join(), /30 services are more than 8 connections can wait for/);
    await settled("what points at changes", () => consul.questions.some(({ path, query }) => path === "/v1/health/state/critical" && query.has("index")));
    await silence();
    const healthOf = (name: string): string | undefined => {
      const backends = registry.services.get(name)?.backends;
      return backends?.kind === "explicit" ? backends.workloads[0]?.health : undefined;
    };
    for (const [Status, wanted] of [["critical", "unhealthy"], ["passing", "healthy"]] as const) {
      const asked = consul.questions.length;
      consul.setChecks("s17", [{ CheckID: "c", Name: "probe", Status, Output: "" }]);
      await settled(`s17 to be ${wanted}`, () => healthOf("s17") === wanted);
      const others = consul.questions.slice(asked).filter(({ path }) => path.startsWith("/v1/health/service/") && !path.endsWith("/s17"));
      assert.deepEqual(others, [], "nothing else is asked for");
    }
    assert.ok(consul.highestOpen <= 8, `${consul.highestOpen} connections at a time`);
  });

  it("hears at once of nodes that fail where there are more services than connections, and asks for what is on them alone", async () => {
    consul.put(...Array.from({ length: 30 }, (_, at): FakeInstance => ({ id: `s${at}`, service: `s${at}`, node: at < 3 ? "zone/a" : `n${at}`, port: 80 })));
    start({ maxConnections: 8, pacing: { waitMs: 60_000, intervalMs: 5, backoff: { baseMs: 20, maxMs: 50 } } });
    await settled("the first content", () => registry.status().synced);
    await settled("the list and the three that point", () => consul.held === 4);
    await silence();
    const unhealthy = (): string[] =>
      [...registry.services.entries()].flatMap(([name, { backends }]) => (backends.kind === "explicit" && backends.workloads[0]?.health === "unhealthy" ? [name] : [])).sort();
    const asked = consul.questions.length;
    consul.setNodeCheck("zone/a", "critical");
    consul.setNodeCheck("n7", "critical");
    await settled("what is on them to be unhealthy", () => unhealthy().join() === "s0,s1,s2,s7");
    consul.setNodeCheck("zone/a", "passing");
    await settled("one of them to be back", () => unhealthy().join() === "s7");
    const services = consul.questions.slice(asked).flatMap(({ path }) => (path.startsWith("/v1/health/service/") ? [path.split("/").at(-1) ?? ""] : []));
    assert.deepEqual([...new Set(services)].sort(), ["s0", "s1", "s2", "s7"]);
  });

  it("says since when what points at changes cannot be asked for, and that it can again", async () => {
    consul.put(...Array.from({ length: 30 }, (_, at): FakeInstance => ({ id: `s${at}`, service: `s${at}`, port: 80 })));
    consul.faults.broken = new Set(["state/critical"]);
    start({ maxConnections: 8 });
    await settled("the failure", () => registry.status().synced && failure() === "MESH_REGISTRY_UNAVAILABLE");
    const { since = 0, message = "" } = registry.status().lastError ?? {};
    assert.equal(message, "critical checks of the cluster cannot be asked for: consul answered 500: rpc error: too much");
    const note = `critical checks of the cluster cannot be asked for since ${new Date(since).toISOString()}: what changes there may be seen up to 300 s late`;
    assert.ok(registry.status().notes.includes(note), registry.status().notes.join("\n"));
    const failures = (): number => registry.status().counters?.failures["MESH_REGISTRY_UNAVAILABLE"] ?? 0;
    const before = failures();
    await settled("more attempts", () => failures() > before + 2);
    assert.equal(registry.status().lastError?.since, since, "it is the first of them that counts");
    delete consul.faults.broken;
    await settled("the end of it", () => failure() === undefined && !registry.status().notes.some((line) => line.includes("cannot be asked for")));
  });

  it("asks for nothing where nothing changed, although there are more services than connections", async () => {
    consul.put(...Array.from({ length: 30 }, (_, at): FakeInstance => ({ id: `s${at}`, service: `s${at}`, port: 80 })));
    start({ maxConnections: 8, pacing: { waitMs: 60_000, intervalMs: 5, backoff: { baseMs: 20, maxMs: 50 } } });
    await settled("the first content", () => registry.status().synced);
    await settled("the list and the three that point", () => consul.held === 4);
    await silence();
    const asked = consul.questions.length;
    consul.put({ id: "s3-b", service: "s3", port: 80 });
    await settled("the change", () => size("s3") === 2);
    await silence();
    const swept = consul.questions.slice(asked).filter(({ path }) => path.startsWith("/v1/health/service/"));
    assert.ok(swept.length <= 62, `${swept.length} questions for one change among 30 services`);
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

  it("asks the next agent when one is away", async () => {
    consul.put(...web(2));
    const other = await new FakeConsul().listen();
    try {
      other.put(...web(2), { id: "db", service: "db", port: 5_432 });
      start({ otherAddresses: [other.address] });
      await settled("the first content", () => registry.status().synced);
      assert.equal(registry.services.get("db"), undefined);
      consul.faults.isCut = true;
      consul.drop();
      await settled("the other agent's content", () => size("db") === 1 && failure() === undefined);
      assert.equal(size(), 2);
      const asked = consul.questions.length;
      other.put({ id: "web-9", service: "web", port: 80 });
      await settled("a change there", () => size() === 3);
      assert.equal(consul.questions.length, asked, "whoever answers is asked on");
    } finally {
      await registry.close();
      await other.close();
    }
  });

  for (const fault of ["broken", "garbled"] as const) {
    it(`stays with an agent that fails for one service alone (${fault})`, async () => {
      const other = await new FakeConsul().listen();
      try {
        for (const agent of [consul, other]) agent.put(...web(1), { id: "db", service: "db", port: 1 }, { id: "mq", service: "mq", port: 1 });
        consul.faults[fault] = new Set(["db"]);
        start({ otherAddresses: [other.address] });
        const asked = (): number => consul.questions.filter(({ path }) => path.endsWith("/db")).length;
        await settled("many failures of the one", () => asked() > 12 && registry.status().synced);
        assert.match(registry.status().notes.join(), /^db: consul/);
        assert.equal(failure(), fault === "broken" ? "MESH_REGISTRY_UNAVAILABLE" : "MESH_REGISTRY_MALFORMED");
        assert.equal(other.questions.length, 0);
        delete consul.faults[fault];
        await settled("that one too", () => size("db") === 1 && failure() === undefined);
      } finally {
        await registry.close();
        await other.close();
      }
    });
  }

  it("leaves an agent that answers nothing but errors", async () => {
    const other = await new FakeConsul().listen();
    try {
      for (const agent of [consul, other]) agent.put(...web(1), { id: "db", service: "db", port: 1 });
      start({ otherAddresses: [other.address] });
      await settled("the first content", () => registry.status().synced);
      await settled("the questions to wait", () => consul.held === 3);
      Object.assign(consul.faults, { status: 500, body: "No known Consul servers" });
      consul.wake();
      await settled("the other agent to be asked for everything", () => other.held === 3 && failure() === undefined);
    } finally {
      await registry.close();
      await other.close();
    }
  });

  it("asks the next agent when one knows no leader, and stays where none does", async () => {
    consul.put(...web(2));
    consul.faults.isLeaderless = true;
    const other = await new FakeConsul().listen();
    try {
      other.put(...web(2));
      other.put({ id: "db", service: "db", port: 5_432 });
      start({ otherAddresses: [other.address] });
      await settled("the other agent's content", () => size("db") === 1 && failure() === undefined);
      other.faults.isLeaderless = true;
      other.wake();
      await failed("MESH_REGISTRY_UNAVAILABLE");
      const asked = consul.questions.length;
      other.put({ id: "web-9", service: "web", port: 80 });
      await settled("growth", () => size() === 3);
      assert.equal(consul.questions.length, asked, "the first is not asked again at once");
    } finally {
      await registry.close();
      await other.close();
    }
  });

  it("names partition and namespace, and asks for the agent's cache, but not of a leader", async () => {
    consul.put(...web(4));
    start({ partition: "p1", consulNamespace: "n1", usesAgentCache: true, datacenter: "dc2" });
    await settled("the first content", () => registry.status().synced);
    assert.deepEqual(registry.services.get("web")?.aliases, ["web.service.n1.ns.p1.ap.dc2.dc.consul"]);
    consul.remove("web-0", "web-1", "web-2");
    await settled("a confirmed loss", () => size() === 1);
    for (const { path, query } of consul.questions) {
      assert.deepEqual([query.get("ns"), query.get("partition"), query.get("dc")], ["n1", "p1", "dc2"]);
      assert.equal(query.has("cached"), path.startsWith("/v1/health/service/") && !query.has("consistent"), `${path}?${query.toString()}`);
    }
  });

  it("reports what only Consul Enterprise knows, and does not ask for it again and again", async () => {
    Object.assign(consul.faults, { status: 400, body: 'Invalid query parameter: "ns" - Namespaces are a Consul Enterprise feature' });
    start({ consulNamespace: "n1", pacing: { intervalMs: 5, backoff: { baseMs: 5, maxMs: 60_000 } } });
    await failed("MESH_REGISTRY_MISCONFIGURED");
    assert.match(registry.status().lastError?.message ?? "", /Enterprise feature/);
    assert.equal(consul.questions.length, 1);
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.equal(consul.questions.length, 1);
  });

  it("does not wait for each service's pause once Consul is back", async () => {
    consul.put(...Array.from({ length: 20 }, (_, at) => ({ id: `s${at}`, service: `s${at}`, port: 80 })));
    start({ pacing: { waitMs: 60_000, intervalMs: 5, backoff: { baseMs: 20, maxMs: 120_000 } } });
    await settled("the first content", () => registry.status().synced);
    consul.faults.isCut = true;
    consul.drop();
    await settled("the list alone to be asked for", () => consul.questions.length > 60 && consul.questions.slice(-2).every(({ path }) => path === "/v1/catalog/services"));
    delete consul.faults.isCut;
    consul.put({ id: "s7-b", service: "s7", port: 80 });
    await settled("the content after", () => size("s7") === 2 && failure() === undefined);
  });

  it("counts what its questions came to", async () => {
    consul.put(...web(1));
    start();
    await settled("the first content", () => registry.status().synced);
    await settled("the questions to wait", () => consul.held === 2);
    const { watches, wakes = 0, wakesWithoutChange = 0 } = registry.status().counters ?? {};
    assert.equal(watches, 2);
    consul.wake();
    await settled("answers without news", () => registry.status().counters?.wakesWithoutChange === wakesWithoutChange + 2);
    assert.equal(registry.status().counters?.wakes, wakes + 2);
    await settled("the questions to wait again", () => consul.held === 2);
    consul.put({ id: "web-9", service: "web", port: 80 });
    await settled("the change", () => size() === 2);
    await settled("both answers, of which the list's changes nothing", () => registry.status().counters?.wakes === wakes + 4);
    assert.equal(registry.status().counters?.wakesWithoutChange, wakesWithoutChange + 3);
    consul.faults.isCut = true;
    consul.drop();
    await failed("MESH_REGISTRY_UNREACHABLE");
    const { failures, lastSuccessAt } = registry.status().counters ?? {};
    assert.ok(lastSuccessAt !== undefined);
    assert.ok((failures?.["MESH_REGISTRY_UNREACHABLE"] ?? 0) >= 1);
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
