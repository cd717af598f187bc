import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../../../../base/clock.ts";
import { createKubernetesRegistry } from "../../../../../discovery/registry/kubernetes/registry.ts";
import type { Registry } from "../../../../../discovery/registry/registry.ts";
import { FakeKubernetes } from "../../../../fakes/kubernetes-server.ts";
import { clusterObjects, service } from "../../../../support/kubernetes-objects.ts";
import { waitUntil } from "../../../../support/wait-until.ts";

describe("the first content of a kubernetes registry", () => {
  let kubernetes: FakeKubernetes;
  let folder: string;
  let registry: Registry;

  beforeEach(async () => {
    kubernetes = await new FakeKubernetes().listen();
    folder = await mkdtemp(join(tmpdir(), "first-content-"));
    await writeFile(join(folder, "config"), kubernetes.kubeconfig());
    kubernetes.put(...clusterObjects("a", [{ id: "1", port: 80, isHealthy: true }]));
  });

  afterEach(async () => {
    await registry.close();
    await kubernetes.close();
    await rm(folder, { recursive: true });
  });

  function create(namespaces?: readonly string[]): Registry {
    return createKubernetesRegistry({ name: "east", meshDomain: "mesh.internal", kubeconfig: join(folder, "config"), namespaces, clock: systemClock, pacing: { resumeMs: 1, gatherMs: 2, backoff: { baseMs: 2, maxMs: 10 } } });
  }

  it("has the pods' labels though all was denied at first, as by an API server that has just started", async () => {
    kubernetes.faults.statusOf = { services: 403, endpointslices: 403, pods: 403, nodes: 403 };
    registry = create();
    const first: string[] = [];
    registry.services.subscribe((changes) => {
      for (const { after } of changes) if (after?.backends.kind === "explicit") first.push(JSON.stringify(after.backends.workloads.map(({ labels }) => labels)));
    });
    const attempts = (): number => kubernetes.questions.filter(({ plural }) => plural === "pods").length;
    registry.start();
    await waitUntil(() => (registry.status().counters?.failures["MESH_REGISTRY_DENIED"] ?? 0) >= 8, { what: "denials of all kinds", intervalMs: 2 });
    // Pods are the last that it can give.
    kubernetes.faults.statusOf = { pods: 503 };
    const before = attempts();
    await waitUntil(() => registry.status().lastError?.code === "MESH_REGISTRY_UNAVAILABLE" && attempts() > before + 2, { what: "more questions", intervalMs: 2 });
    kubernetes.faults.statusOf = {};
    await waitUntil(() => registry.status().synced, { what: "the first content", intervalMs: 2 });
    assert.equal(first[0], '[{"app":"a"}]');
  });

  it("is of the same cluster as what follows, though that has only just begun and nothing tells it from others yet", async () => {
    kubernetes.faults.isNew = true;
    registry = create();
    registry.start();
    await waitUntil(() => registry.services.entries().size === 1, { what: "the first content", intervalMs: 2 });
    delete kubernetes.faults.isNew;
    kubernetes.faults.isCut = true;
    kubernetes.drop();
    kubernetes.remove(...clusterObjects("a", [{ id: "1", port: 80, isHealthy: true }]));
    kubernetes.compact();
    delete kubernetes.faults.isCut;
    // A loss after a reset would not be believed for two minutes.
    await waitUntil(() => registry.services.entries().size === 0, { what: "the loss", intervalMs: 2 });
  });

  it("says which of the namespaces that it is asked for have no service", async () => {
    registry = create(["default", "shopp"]);
    registry.start();
    await waitUntil(() => registry.status().synced, { what: "the first content", intervalMs: 2 });
    assert.deepEqual(registry.status().notes, ["namespace shopp has no service, or is not there"]);
    kubernetes.put(service("b", {}, { namespace: "shopp" }));
    await waitUntil(() => registry.status().notes.length === 0, { what: "a service of it", intervalMs: 2 });
  });
});
