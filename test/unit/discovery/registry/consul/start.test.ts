import assert from "node:assert/strict";
import { systemClock } from "../../../../../base/clock.ts";
import { createConsulRegistry } from "../../../../../discovery/registry/consul/registry.ts";
import type { ConsulRegistryOptions } from "../../../../../discovery/registry/consul/registry.ts";
import { keepLastGood } from "../../../../../discovery/registry/last-good.ts";
import type { Registry } from "../../../../../discovery/registry/registry.ts";
import type { Workload } from "../../../../../model/workload.ts";
import type { KeyValueStore } from "../../../../../store/key-value.ts";
import { createMemoryStore } from "../../../../../store/memory.ts";
import { FakeConsul } from "../../../../fakes/consul-server.ts";
import type { FakeInstance } from "../../../../fakes/consul-server.ts";
import { waitUntil } from "../../../../support/wait-until.ts";

describe("consul registry at its start", () => {
  let consul: FakeConsul;
  let registry: Registry;

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

  async function startLasting(store: KeyValueStore): Promise<void> {
    const lasting = keepLastGood((onSynced, recalled) => open({ onSynced, recalled }), { kind: "consul", store, clock: systemClock, admission: { scope: "", admit: (_id, service) => service } });
    registry = lasting;
    await lasting.load();
    lasting.start();
  }

  beforeEach(async () => {
    consul = await new FakeConsul().listen();
  });

  afterEach(async () => {
    await registry.close();
    await consul.close();
  });

  const instances = (service: string): readonly Workload[] | undefined => {
    const backends = registry.services.get(service)?.backends;
    return backends?.kind === "explicit" ? backends.workloads : undefined;
  };
  const size = (service = "web"): number => instances(service)?.length ?? -1;
  const health = (service = "web"): string | undefined => instances(service)?.[0]?.health;
  const failure = (): string | undefined => registry.status().lastError?.code;
  const failed = (code: string): Promise<boolean> => settled(code, () => failure() === code);

  it("does not know health for long, at a first start, that no leader ever confirmed", async () => {
    consul.put(...web(2));
    consul.faults.isLeaderless = true;
    open({ maxAgeMs: 150 }).start();
    await settled("the first content", () => registry.status().synced);
    await settled("old age", () => health() === "unknown");
    delete consul.faults.isLeaderless;
    consul.wake();
    await settled("the word of a leader", () => health() === "healthy");
  });

  it("begins with what it had, where the first that it asks lags and knows no leader", async () => {
    const store = createMemoryStore();
    consul.put(...web(1));
    const past = consul.state();
    consul.put(...web(3), { id: "db", service: "db", port: 1 });
    await startLasting(store);
    await settled("the content", () => size() === 3 && size("db") === 1);
    await registry.close();
    Object.assign(consul.faults, { past, isLeaderless: true, isWithoutQuorum: true });
    await startLasting(store);
    await failed("MESH_REGISTRY_UNAVAILABLE");
    await settled("more attempts", () => (registry.status().counters?.failures["MESH_REGISTRY_UNAVAILABLE"] ?? 0) > 3);
    assert.deepEqual([size(), size("db"), health(), registry.status().synced], [3, 1, "unknown", true]);
    for (const fault of ["isLeaderless", "isWithoutQuorum", "past"] as const) delete consul.faults[fault];
    await settled("news", () => health() === "healthy" && failure() === undefined);
    assert.deepEqual([size(), size("db")], [3, 1]);
  });

  it("begins with what it had, where the first that it asks lags and does know a leader", async () => {
    const store = createMemoryStore();
    consul.put(...web(2));
    const past = consul.state();
    consul.put(...web(3), { id: "db", service: "db", port: 1 });
    await startLasting(store);
    await settled("the content", () => size() === 3 && size("db") === 1);
    await registry.close();
    consul.faults.past = past;
    await startLasting(store);
    const seen: string[] = [];
    registry.services.subscribe(() => seen.push(`${size()} ${size("db")}`));
    await settled("news", () => health() === "healthy" && failure() === undefined);
    assert.deepEqual(new Set(seen), new Set(["3 1"]));
  });

  it("keeps over a new start what may not be read then, until it is read or gone", async () => {
    const store = createMemoryStore();
    const restart = (): Promise<void> => startLasting(store);
    consul.put(...web(2), { id: "db", service: "db", port: 1 });
    await restart();
    await settled("the content", () => health() === "healthy" && health("db") === "healthy");
    await registry.close();
    const anHourAgo = JSON.stringify({ format: 1, confirmedAt: Date.now() - 3_600_000 });
    await store.txn([], [{ type: "put", key: "registry-confirmed/consul", value: anHourAgo }]);
    consul.faults.isHealthDenied = true;
    consul.put({ id: "new", service: "new", port: 1 });
    for (const start of ["the next start", "the one after it"]) {
      await restart();
      const asked = consul.questions.length;
      await settled("the failure", () => failure() === "MESH_REGISTRY_DENIED" && consul.questions.length > asked + 6 && !registry.status().notes.join().includes("last good one"));
      assert.deepEqual([size("web"), health(), size("db"), size("new")], [2, "unknown", 1, -1]);
      assert.ok((registry.status().ageMs ?? 0) >= 3_500_000, `as old as Consul's last word, at ${start}`);
      if (start === "the next start") await registry.close();
    }
    consul.remove("db");
    await settled("what is gone to be gone", () => registry.services.get("db") === undefined);
    assert.equal(size("web"), 2);
    delete consul.faults.isHealthDenied;
    await settled("all that is there", () => health() === "healthy" && size("new") === 1);
    assert.ok((registry.status().ageMs ?? 3_600_000) < 3_500_000);
  });
});

function web(count: number): FakeInstance[] {
  return Array.from({ length: count }, (_, at) => ({ id: `web-${at}`, service: "web", address: `10.1.0.${at}`, port: 80 }));
}

function settled(what: string, condition: () => boolean): Promise<boolean> {
  return waitUntil(condition, { what, intervalMs: 5, timeoutMs: 20_000 });
}
