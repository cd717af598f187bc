import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../../../../base/clock.ts";
import { createKubernetesRegistry } from "../../../../../discovery/registry/kubernetes/registry.ts";
import type { Registry } from "../../../../../discovery/registry/registry.ts";
import { FakeKubernetes } from "../../../../fakes/kubernetes-server.ts";
import { clusterObjects } from "../../../../support/kubernetes-objects.ts";
import { waitUntil } from "../../../../support/wait-until.ts";

const KIND_COUNT = 4;
const FAST = { pageSize: 3, resumeMs: 1, gatherMs: 2, resetHoldMs: 10, backoff: { baseMs: 2, maxMs: 10 } };

describe("the kubernetes registry, whatever the wall clock says", () => {
  let kubernetes: FakeKubernetes;
  let folder: string;
  let kubeconfig: string;
  let registry: Registry;
  /** How far it was set. */
  let stepMs: number;

  beforeEach(async () => {
    kubernetes = await new FakeKubernetes().listen();
    folder = await mkdtemp(join(tmpdir(), "ironmesh-kubernetes-"));
    kubeconfig = join(folder, "config");
    await writeFile(kubeconfig, kubernetes.kubeconfig());
    stepMs = 0;
  });

  afterEach(async () => {
    await registry.close();
    await kubernetes.close();
    await rm(folder, { recursive: true });
  });

  function open(pacing: Partial<typeof FAST> = {}): void {
    registry = createKubernetesRegistry({ name: "east", meshDomain: "mesh.internal", kubeconfig, clock: { ...systemClock, now: () => systemClock.now() + stepMs }, pacing: { ...FAST, ...pacing } });
    registry.start();
  }

  const watching = (): Promise<boolean> => waitUntil(() => kubernetes.watching === KIND_COUNT, { what: "four watches", intervalMs: 2 });

  it("believes no loss after a reset because somebody set the clock forward, and is no older for it", async () => {
    kubernetes.put(...clusterObjects("a", instances(3)));
    open({ resetHoldMs: 60_000 });
    await watching();
    kubernetes.reset();
    await waitUntil(() => registry.status().lastError?.code === "MESH_REGISTRY_SHRUNK", { what: "the reset to show", intervalMs: 2 });
    stepMs = 3 * 3_600_000;
    const shrunk = (): number => registry.status().counters?.failures["MESH_REGISTRY_SHRUNK"] ?? 0;
    const before = shrunk();
    await waitUntil(() => shrunk() > before + KIND_COUNT, { what: "more lists", intervalMs: 2 });
    assert.equal(workloadCount(registry, "default/a"), 3);
    assert.ok((registry.status().ageMs ?? 0) < 60_000);
  });

  it("goes on at once when a watch ends after somebody set the clock back", async () => {
    kubernetes.put(...clusterObjects("a", instances(1)));
    open();
    await watching();
    stepMs = -3 * 3_600_000;
    kubernetes.drop();
    kubernetes.put(...clusterObjects("a", instances(2)));
    await waitUntil(() => workloadCount(registry, "default/a") === 2, { what: "what was missed", intervalMs: 2 });
    await watching();
    kubernetes.drop();
    kubernetes.put(...clusterObjects("a", instances(3)));
    await waitUntil(() => workloadCount(registry, "default/a") === 3, { what: "what was missed then", intervalMs: 2 });
  });
});

function instances(count: number) {
  return Array.from({ length: count }, (_, at) => ({ id: String(at + 1), port: 8_080, isHealthy: true }));
}

function workloadCount(registry: Registry, key: string): number {
  const backends = registry.services.get(key)?.backends;
  return backends?.kind === "explicit" ? backends.workloads.length : 0;
}
