import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../../../../base/clock.ts";
import { createKubernetesRegistry } from "../../../../../discovery/registry/kubernetes/registry.ts";
import { FakeKubernetes } from "../../../../fakes/kubernetes-server.ts";
import { clusterObjects } from "../../../../support/kubernetes-objects.ts";
import { waitUntil } from "../../../../support/wait-until.ts";

describe("the first content of a kubernetes registry", () => {
  it("has the pods' labels though all was denied at first, as by an API server that has just started", async () => {
    const kubernetes = await new FakeKubernetes().listen();
    const folder = await mkdtemp(join(tmpdir(), "first-content-"));
    const kubeconfig = join(folder, "config");
    await writeFile(kubeconfig, kubernetes.kubeconfig());
    kubernetes.put(...clusterObjects("a", [{ id: "1", port: 80, isHealthy: true }]));
    kubernetes.faults.statusOf = { services: 403, endpointslices: 403, pods: 403, nodes: 403 };
    const registry = createKubernetesRegistry({ name: "east", meshDomain: "mesh.internal", kubeconfig, clock: systemClock, pacing: { resumeMs: 1, gatherMs: 2, backoff: { baseMs: 2, maxMs: 10 } } });
    const first: string[] = [];
    registry.services.subscribe((changes) => {
      for (const { after } of changes) if (after?.backends.kind === "explicit") first.push(JSON.stringify(after.backends.workloads.map(({ labels }) => labels)));
    });
    const attemptsAt = (plural: string): number => kubernetes.questions.filter((asked) => asked.plural === plural).length;
    try {
      registry.start();
      await waitUntil(() => (registry.status().counters?.failures["MESH_REGISTRY_DENIED"] ?? 0) >= 8, { what: "denials of all kinds", intervalMs: 2 });
      // Pods are the last that it can give.
      kubernetes.faults.statusOf = { pods: 503 };
      const before = attemptsAt("pods");
      await waitUntil(() => registry.status().lastError?.code === "MESH_REGISTRY_UNAVAILABLE" && attemptsAt("pods") > before + 2, { what: "more questions", intervalMs: 2 });
      kubernetes.faults.statusOf = {};
      await waitUntil(() => registry.status().synced, { what: "the first content", intervalMs: 2 });
      assert.equal(first[0], '[{"app":"a"}]');
    } finally {
      await registry.close();
      await kubernetes.close();
      await rm(folder, { recursive: true });
    }
  });
});
