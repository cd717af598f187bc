import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../../../../base/clock.ts";
import { createKubernetesRegistry } from "../../../../../discovery/registry/kubernetes/registry.ts";
import type { Registry } from "../../../../../discovery/registry/registry.ts";
import { FakeKubernetes } from "../../../../fakes/kubernetes-server.ts";
import { node, service, slice } from "../../../../support/kubernetes-objects.ts";
import { waitUntil } from "../../../../support/wait-until.ts";

describe("what the kubernetes registry counts", () => {
  let kubernetes: FakeKubernetes;
  let folder: string;
  let kubeconfig: string;
  let registry: Registry | undefined;

  beforeEach(async () => {
    kubernetes = await new FakeKubernetes().listen();
    folder = await mkdtemp(join(tmpdir(), "ironmesh-kubernetes-"));
    kubeconfig = join(folder, "config");
    await writeFile(kubeconfig, kubernetes.kubeconfig());
  });

  afterEach(async () => {
    await registry?.close();
    await kubernetes.close();
    await rm(folder, { recursive: true });
  });

  it("are its watches, what wakes it for nothing, what fails, and how late a change came", async () => {
    const at = Date.now();
    let passedMs = 0;
    const clock = { ...systemClock, now: () => at + passedMs };
    const changedSlice = (port: number, trigger?: string) => {
      const object = slice("a-1", "a", [{ address: "10.0.0.1" }], { ports: [{ name: "http", port }] });
      return trigger === undefined ? object : { ...object, metadata: { ...object.metadata, annotations: { "endpoints.kubernetes.io/last-change-trigger-time": trigger } } };
    };
    // What happened before anybody listened says nothing of how fast news travel.
    kubernetes.put(service("a"), changedSlice(1, new Date(at - 3_600_000).toISOString()));
    registry = createKubernetesRegistry({ name: "east", meshDomain: "mesh.internal", kubeconfig, clock, pacing: { resumeMs: 1, gatherMs: 2, backoff: { baseMs: 2, maxMs: 10 } } });
    registry.start();
    const counters = () => registry?.status().counters;
    await waitUntil(() => registry?.status().synced === true && counters()?.watches === 4, { what: "the first content and four open watches", intervalMs: 2 });
    assert.deepEqual([counters()?.lagMs, counters()?.lastSuccessAt, counters()?.failures], [undefined, at, {}]);
    const [wakes = 0, idle = 0] = [counters()?.wakes, counters()?.wakesWithoutChange];

    kubernetes.put(changedSlice(2, new Date(at - 250).toISOString()));
    await waitUntil(() => counters()?.wakes === wakes + 1, { what: "the change", intervalMs: 2 });
    assert.deepEqual([counters()?.wakesWithoutChange, counters()?.lagMs], [idle, 250]);
    // A slice that says the same and a node that serves nothing change nothing, and are no later news of what happened then.
    passedMs = 60_000;
    kubernetes.put(changedSlice(2, new Date(at - 250).toISOString()), node("n", "eu", "eu-1"));
    await waitUntil(() => counters()?.wakes === wakes + 3, { what: "what changes nothing", intervalMs: 2 });
    assert.deepEqual([counters()?.wakesWithoutChange, counters()?.lagMs], [idle + 2, 250]);
    // Clocks differ, and no time is none.
    kubernetes.put(changedSlice(3, new Date(at + 65_000).toISOString()));
    await waitUntil(() => counters()?.lagMs === 0, { what: "a change from the future", intervalMs: 2 });
    kubernetes.put(changedSlice(4, "yesterday"));
    await waitUntil(() => counters()?.wakes === wakes + 5, { what: "a change without a time", intervalMs: 2 });
    assert.equal(counters()?.lagMs, 0);

    kubernetes.faults.status = 403;
    kubernetes.drop();
    await waitUntil(() => (counters()?.failures["MESH_REGISTRY_DENIED"] ?? 0) > 0 && counters()?.watches === 0, { what: "the failure", intervalMs: 2 });
  });
});
