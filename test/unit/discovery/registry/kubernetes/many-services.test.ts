import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../../../../base/clock.ts";
import { createKubernetesRegistry } from "../../../../../discovery/registry/kubernetes/registry.ts";
import type { Registry } from "../../../../../discovery/registry/registry.ts";
import { FakeKubernetes } from "../../../../fakes/kubernetes-server.ts";
import { clusterObjects } from "../../../../support/kubernetes-objects.ts";
import { createSlices } from "../../../../support/push-slices.ts";
import type { SampleInstance } from "../../../../support/registry-conformance.ts";
import { waitUntil } from "../../../../support/wait-until.ts";

const FAST = { resumeMs: 1, gatherMs: 2, backoff: { baseMs: 2, maxMs: 10 } };
const NAMES = Array.from({ length: 60 }, (_, at) => `s${at}`);

describe("the kubernetes registry, where services are many", () => {
  let kubernetes: FakeKubernetes;
  let folder: string;
  let slices: ReturnType<typeof createSlices>;
  let registry: Registry;
  /** How many services each change was of. */
  let batches: number[];

  beforeEach(async () => {
    kubernetes = await new FakeKubernetes().listen();
    folder = await mkdtemp(join(tmpdir(), "ironmesh-kubernetes-"));
    const kubeconfig = join(folder, "config");
    await writeFile(kubeconfig, kubernetes.kubeconfig());
    kubernetes.put(...NAMES.flatMap((name) => clusterObjects(name, instances(1))));
    slices = createSlices(systemClock);
    registry = createKubernetesRegistry({ name: "east", meshDomain: "mesh.internal", kubeconfig, clock: slices.clock, pacing: FAST });
    batches = [];
    registry.services.subscribe((changes) => batches.push(changes.length));
    registry.start();
  });
  afterEach(async () => {
    await registry.close();
    await kubernetes.close();
    await rm(folder, { recursive: true });
  });

  const soon = <T>(what: string, condition: () => T): Promise<T> => waitUntil(condition, { what, intervalMs: 2 });
  const count = (name: string): number => {
    const backends = registry.services.get(`default/${name}`)?.backends;
    return backends?.kind === "explicit" ? backends.workloads.length : 0;
  };
  const grown = (): string[] => NAMES.filter((name) => count(name) > 1);

  it("builds the first ones in turns and publishes them as a whole", async () => {
    let turns = 0;
    for (; !registry.status().synced; turns += 1) {
      await soon("a turn", () => slices.isWaiting());
      assert.deepEqual(batches, []);
      slices.runOne();
    }
    assert.deepEqual(batches, [NAMES.length]);
    assert.ok(turns >= NAMES.length, `${turns} turns`);
  });

  it("publishes what a list tells later as it is built, and what one event tells before that", async () => {
    await soon("the first content", () => !slices.runOne() && registry.status().synced);
    await soon("watches", () => kubernetes.watching === 4);
    kubernetes.faults.isSilent = true;
    kubernetes.put(...NAMES.flatMap((name) => clusterObjects(name, instances(2))));
    delete kubernetes.faults.isSilent;
    kubernetes.expire();
    await soon("the first of the list", () => grown().length > 0);
    await soon("watches again", () => kubernetes.watching === 4);
    kubernetes.put(...clusterObjects("s59", instances(3)));
    await soon("what the event tells", () => count("s59") === 3);
    assert.ok(grown().length < NAMES.length, "others wait for their turn");
    await soon("all of the list", () => !slices.runOne() && grown().length === NAMES.length);
  });
});

function instances(of: number): SampleInstance[] {
  return Array.from({ length: of }, (_, at) => ({ id: String(at + 1), port: 8_080, isHealthy: true }));
}
