import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { systemClock } from "../../../../../base/clock.ts";
import { createKubernetesRegistry } from "../../../../../discovery/registry/kubernetes/registry.ts";
import type { KubernetesRegistryOptions } from "../../../../../discovery/registry/kubernetes/registry.ts";
import type { Registry } from "../../../../../discovery/registry/registry.ts";
import { FakeKubernetes } from "../../../../fakes/kubernetes-server.ts";
import { clusterObjects, hintedFor, node, pod, service, slice } from "../../../../support/kubernetes-objects.ts";
import { waitUntil } from "../../../../support/wait-until.ts";

const KIND_COUNT = 4;
const FAST = { pageSize: 3, resumeMs: 1, gatherMs: 2, resetHoldMs: 10, backoff: { baseMs: 2, maxMs: 10 } };

describe("the kubernetes registry", () => {
  let kubernetes: FakeKubernetes;
  let folder: string;
  let kubeconfig: string;
  let opened: Registry[];

  beforeEach(async () => {
    kubernetes = await new FakeKubernetes().listen();
    folder = await mkdtemp(join(tmpdir(), "ironmesh-kubernetes-"));
    kubeconfig = join(folder, "config");
    await writeFile(kubeconfig, kubernetes.kubeconfig());
    opened = [];
  });

  afterEach(async () => {
    for (const registry of opened) await registry.close();
    await kubernetes.close();
    await rm(folder, { recursive: true });
  });

  function open(options: Partial<KubernetesRegistryOptions> = {}): Registry {
    const registry = createKubernetesRegistry({ name: "east", meshDomain: "mesh.internal", kubeconfig, clock: systemClock, ...options, pacing: { ...FAST, ...options.pacing } });
    opened.push(registry);
    registry.start();
    return registry;
  }

  const synced = (registry: Registry): Promise<boolean> => waitUntil(() => registry.status().synced, { what: "the first content", intervalMs: 2 });
  const watching = (): Promise<boolean> => waitUntil(() => kubernetes.watching === KIND_COUNT, { what: "four watches", intervalMs: 2 });
  const failed = (registry: Registry, code: string): Promise<boolean> =>
    waitUntil(() => registry.status().lastError?.code === code, { what: `${code}, not ${registry.status().lastError?.code}`, intervalMs: 2 });
  const well = (registry: Registry): Promise<boolean> => waitUntil(() => registry.status().lastError === undefined, { what: "the end of the failure", intervalMs: 2 });
  const listsOf = (plural: string): number => kubernetes.questions.filter(({ plural: asked, query }) => asked === plural && !query.has("watch") && query.get("limit") !== "1").length;

  it("publishes the first content as a whole, read in pages", async () => {
    kubernetes.put(...["a", "b", "c"].flatMap((name) => clusterObjects(name, instances(4))), service("unserved"));
    const registry = open();
    const batches: number[] = [];
    registry.services.subscribe((changes) => batches.push(changes.length));
    await synced(registry);
    assert.deepEqual(batches, [4]);
    const status = registry.status();
    assert.deepEqual([status.kind, status.services, status.workloads, status.notes], ["kubernetes", 4, 12, []]);
    assert.ok(kubernetes.questions.some(({ plural, query }) => plural === "pods" && query.has("continue")));
    assert.ok(status.ageMs !== undefined && status.ageMs < 60_000);
  });

  it("reads a list that expires between two pages in one piece", async () => {
    kubernetes.put(...clusterObjects("a", instances(9)));
    // Something changes between all pages: the fake refuses to go on from a state that is gone.
    kubernetes.faults.isChangedByLists = true;
    const registry = open();
    await synced(registry);
    await waitUntil(() => workloadCount(registry, "default/a") === 9, { what: "all instances", intervalMs: 2 });
    assert.ok(kubernetes.questions.some(({ plural, query }) => plural === "pods" && !query.has("limit") && !query.has("watch")));
    assert.equal(registry.status().lastError, undefined);
  });

  it("goes on from its version when a watch ends or is cut, also by bookmarks", async () => {
    kubernetes.put(...clusterObjects("a", instances(1)));
    const registry = open();
    await watching();
    const [lists] = [listsOf("pods")];
    kubernetes.put(service("elsewhere", {}, { namespace: "kube-system" }));
    kubernetes.bookmark();
    const { version } = kubernetes;
    kubernetes.endWatches();
    await waitUntil(() => kubernetes.questions.filter(({ query }) => query.get("watch") === "true").length >= 2 * KIND_COUNT, { what: "watches again", intervalMs: 2 });
    await watching();
    assert.deepEqual([...new Set(kubernetes.questions.filter(({ query }) => query.get("watch") === "true").slice(-KIND_COUNT).map(({ query }) => query.get("resourceVersion")))], [String(version)]);
    kubernetes.drop();
    await watching();
    kubernetes.put(...clusterObjects("a", instances(2)));
    await waitUntil(() => workloadCount(registry, "default/a") === 2, { what: "a change after it", intervalMs: 2 });
    assert.equal(listsOf("pods"), lists, "nothing is listed again for that");
    assert.equal(registry.services.get("kube-system/elsewhere"), undefined);
  });

  for (const [what, expire] of [
    ["in the watch", () => kubernetes.expire()],
    ["when the watch goes on", () => {
      kubernetes.compact();
      kubernetes.endWatches();
    }],
  ] as const) {
    it(`lists anew after 410 Gone ${what}, without emptying anything and without a storm`, async () => {
      kubernetes.put(...clusterObjects("a", instances(3)), ...clusterObjects("b", instances(1)));
      const registry = open();
      await watching();
      let fewest = Infinity;
      registry.services.subscribe(() => (fewest = Math.min(fewest, workloadCount(registry, "default/a"))));
      const before = listsOf("endpointslices");
      // What goes away while nobody listens has to be seen in the list.
      kubernetes.faults.isSilent = true;
      kubernetes.remove(...clusterObjects("b", instances(1)));
      kubernetes.put(...clusterObjects("a", instances(4)));
      delete kubernetes.faults.isSilent;
      expire();
      await waitUntil(() => registry.services.get("default/b") === undefined && workloadCount(registry, "default/a") === 4, { what: "the new content", intervalMs: 2 });
      await watching();
      assert.ok(fewest >= 3, `${fewest} instances of three`);
      assert.ok(listsOf("endpointslices") - before <= 3 * 2, `${listsOf("endpointslices") - before} pages`);
      await well(registry);
    });
  }

  it("ignores what is said twice, and asks anew where events contradict each other", async () => {
    kubernetes.put(...clusterObjects("a", instances(2)));
    const registry = open();
    await watching();
    kubernetes.put(...clusterObjects("a", instances(3)));
    await waitUntil(() => workloadCount(registry, "default/a") === 3, { what: "three", intervalMs: 2 });
    const before = listsOf("endpointslices");
    kubernetes.repeat(3, "same");
    kubernetes.repeat(3, "reversed");
    kubernetes.put(...clusterObjects("b", instances(1)));
    await waitUntil(() => workloadCount(registry, "default/b") === 1, { what: "what comes after", intervalMs: 2 });
    assert.equal(listsOf("endpointslices"), before);
    kubernetes.remove(...clusterObjects("b", instances(1)));
    await waitUntil(() => registry.services.get("default/b") === undefined, { what: "its end", intervalMs: 2 });
    // Now the creation of what is gone comes again, behind its end.
    kubernetes.repeat(3, "reversed");
    await waitUntil(() => listsOf("endpointslices") > before, { what: "a list", intervalMs: 2 });
    await watching();
    kubernetes.put(service("last"));
    await waitUntil(() => registry.services.get("default/last") !== undefined, { what: "what comes after", intervalMs: 2 });
    assert.equal(registry.services.get("default/b"), undefined);
  });

  it("keeps what it knows while the cluster is away, and says so", async () => {
    kubernetes.put(...clusterObjects("a", instances(2)));
    const registry = open();
    await watching();
    kubernetes.faults.isCut = true;
    kubernetes.drop();
    await failed(registry, "MESH_REGISTRY_UNREACHABLE");
    assert.deepEqual([registry.status().synced, workloadCount(registry, "default/a")], [true, 2]);
    delete kubernetes.faults.isCut;
    for (const [status, code] of [[500, "UNAVAILABLE"], [503, "UNAVAILABLE"], [429, "THROTTLED"], [401, "DENIED"], [403, "DENIED"], [404, "MISCONFIGURED"]] as const) {
      kubernetes.faults.status = status;
      kubernetes.drop();
      await failed(registry, `MESH_REGISTRY_${code}`);
      assert.match(registry.status().lastError?.message ?? "", new RegExp(`${status}: refused by the fake`));
      assert.equal(workloadCount(registry, "default/a"), 2);
      delete kubernetes.faults.status;
      await well(registry);
    }
  });

  it("reads everything anew after an outage, from which the cluster may be back with another state", async () => {
    kubernetes.put(service("a"), service("b"));
    const registry = open();
    await watching();
    const asked = kubernetes.questions.length;
    kubernetes.faults.isCut = true;
    kubernetes.drop();
    await waitUntil(() => kubernetes.questions.length > asked + 10 * KIND_COUNT, { what: "every kind to fail", intervalMs: 2 });
    kubernetes.forget(service("b"));
    delete kubernetes.faults.isCut;
    await waitUntil(() => registry.services.get("default/b") === undefined, { what: "the older state", intervalMs: 2, timeoutMs: 20_000 });
    assert.notEqual(registry.services.get("default/a"), undefined);
  });

  it("takes a watch that is silent for dead", async () => {
    kubernetes.put(...clusterObjects("a", instances(1)));
    kubernetes.faults.isSilent = true;
    const registry = open({ pacing: { silenceMs: 50 } });
    await synced(registry);
    kubernetes.put(...clusterObjects("a", instances(2)));
    delete kubernetes.faults.isSilent;
    await waitUntil(() => workloadCount(registry, "default/a") === 2, { what: "what was missed", intervalMs: 2 });
  });

  for (const isAhead of [false, true]) it(`sees that the cluster's data was reset, ${isAhead ? "also when it has had more changes since" : "by its versions"}, and believes the loss only when it lasts`, async () => {
    kubernetes.put(...clusterObjects("a", instances(3)), node("n1", "eu", "eu-1"));
    const registry = open({ pacing: { resetHoldMs: 60_000 } });
    await watching();
    kubernetes.reset();
    if (isAhead) kubernetes.grow();
    await failed(registry, "MESH_REGISTRY_SHRUNK");
    assert.equal(workloadCount(registry, "default/a"), 3);
    // The controllers write again what was there, with one instance more; no version of before counts.
    kubernetes.put(...clusterObjects("a", instances(4)), node("n1", "eu", "eu-1"));
    await waitUntil(() => workloadCount(registry, "default/a") === 4, { what: "the instances again", intervalMs: 2 });
    await well(registry);
    const other = open({ pacing: { resetHoldMs: 1 } });
    await synced(other);
    await waitUntil(() => kubernetes.watching === 2 * KIND_COUNT, { what: "all watches", intervalMs: 2 });
    kubernetes.reset();
    await waitUntil(() => other.services.entries().size === 0, { what: "a loss that lasts", intervalMs: 2 });
    assert.equal(workloadCount(registry, "default/a"), 4);
  });

  it("does without nodes and pods that it may not read, and without services not", async () => {
    kubernetes.put(...clusterObjects("a", instances(1)));
    kubernetes.faults.statusOf = { nodes: 403, pods: 403 };
    const registry = open();
    await synced(registry);
    assert.equal(registry.status().lastError?.code, "MESH_REGISTRY_DENIED");
    assert.match(registry.status().lastError?.hint ?? "", /rbac\.yaml/);
    // Each right that is missing is said: one that was given would not help alone.
    await waitUntil(() => /pods/.test(registry.status().lastError?.message ?? "") && registry.status().notes.some((note) => note.includes("nodes")), { what: "both kinds", intervalMs: 2 });
    assert.deepEqual(labelsOf(registry, "default/a"), [{}]);
    kubernetes.faults.statusOf = {};
    await waitUntil(() => labelsOf(registry, "default/a")[0]?.["app"] === "a", { what: "the labels", intervalMs: 2 });
    await well(registry);
    kubernetes.faults.statusOf = { services: 403 };
    const blind = open();
    await failed(blind, "MESH_REGISTRY_DENIED");
    assert.equal(blind.status().synced, false);
  });

  it("waits as long as the cluster asks for", async () => {
    kubernetes.faults.status = 429;
    kubernetes.faults.retryAfterSeconds = 3;
    const delays: number[] = [];
    const registry = open({ clock: { ...systemClock, after: (delayMs, callback) => {
      delays.push(delayMs);
      return systemClock.after(Math.min(delayMs, 200), callback);
    } } });
    await failed(registry, "MESH_REGISTRY_THROTTLED");
    await waitUntil(() => delays.includes(3_000), { what: "the pause", intervalMs: 2 });
  });

  it("goes on with a renewed token, from the kubeconfig or from a file of its own", async () => {
    kubernetes.put(...clusterObjects("a", instances(1)));
    kubernetes.tokens = new Set(["old"]);
    const tokenFile = join(folder, "token");
    await writeFile(tokenFile, "old\n");
    await writeFile(kubeconfig, kubernetes.kubeconfig("old"));
    const [byConfig, byFile] = [open(), open({ tokenFile })];
    await Promise.all([synced(byConfig), synced(byFile)]);
    kubernetes.tokens = new Set(["new"]);
    kubernetes.drop();
    await Promise.all([failed(byConfig, "MESH_REGISTRY_DENIED"), failed(byFile, "MESH_REGISTRY_DENIED")]);
    await writeFile(tokenFile, "new\n");
    await writeFile(kubeconfig, kubernetes.kubeconfig("new"));
    await Promise.all([well(byConfig), well(byFile)]);
    assert.deepEqual([byConfig, byFile].map((registry) => workloadCount(registry, "default/a")), [1, 1]);
  });

  it("does not wait for ever for a plugin that hangs, nor starts another beside it", async () => {
    const [plugin, asked] = [join(folder, "plugin"), join(folder, "asked")];
    await writeFile(plugin, `#!/bin/sh\necho once >> ${asked}\nexec sleep 3\n`, { mode: 0o700 });
    const { users: _users, ...config } = JSON.parse(kubernetes.kubeconfig()) as Record<string, unknown>;
    await writeFile(kubeconfig, JSON.stringify({ ...config, users: [{ name: "reader", user: { exec: { apiVersion: "client.authentication.k8s.io/v1", command: plugin } } }] }));
    let failures = 0;
    const registry = open({ clock: { ...systemClock, after: (delayMs, callback) => {
      if (delayMs === 30_000) failures += 1;
      return systemClock.after(Math.min(delayMs, 20), callback);
    } } });
    await failed(registry, "MESH_REGISTRY_UNREACHABLE");
    assert.match(registry.status().lastError?.message ?? "", /nothing for 30 s/);
    await waitUntil(() => failures > 3 * KIND_COUNT, { what: "further questions", intervalMs: 2 });
    assert.equal(await readFile(asked, "utf8"), "once\n");
  });

  it("says what is wrong with a kubeconfig, and begins when it is right", async () => {
    kubernetes.put(service("a"));
    await rm(kubeconfig);
    const registry = open();
    await failed(registry, "MESH_REGISTRY_MISCONFIGURED");
    await writeFile(kubeconfig, kubernetes.kubeconfig());
    await synced(registry);
    const lost = open({ context: "nowhere" });
    await failed(lost, "MESH_REGISTRY_MISCONFIGURED");
    assert.match(lost.status().lastError?.message ?? "", /no cluster for the context "nowhere"/);
  });

  it("leaves out one object that it does not understand, with a note, and namespaces that are not asked for", async () => {
    kubernetes.put(service("a"), service("odd", { ports: [{ port: "eighty" }] }), service("there", {}, { namespace: "shop" }), service("far", {}, { namespace: "n".repeat(60) }));
    const registry = open();
    await synced(registry);
    assert.deepEqual([...registry.services.entries().keys()].sort(), ["default/a", "shop/there"]);
    assert.match(registry.status().notes.join("\n"), /^namespace n+ is left out: .*\nservices default\/odd is not understood: ports\.0\.port/);
    kubernetes.put(service("a", { ports: [{ port: "eighty" }] }));
    await waitUntil(() => registry.status().notes.some((note) => note.startsWith("services default/a is not understood")), { what: "the note", intervalMs: 2 });
    assert.deepEqual(registry.services.get("default/a")?.ports.map(({ number }) => number), [80], "as it was understood last");
    kubernetes.remove(service("a"));
    await waitUntil(() => registry.services.get("default/a") === undefined && registry.status().notes.length === 2, { what: "its end", intervalMs: 2 });
    const shop = open({ namespaces: ["shop"] });
    await synced(shop);
    assert.deepEqual([...shop.services.entries().keys()], ["shop/there"]);
  });

  it("follows labels of pods, places of nodes, and a pod that is replaced by one of its name", async () => {
    const at = { node: "n1", addresses: ["10.0.0.1"] };
    kubernetes.put(node("n1", "eu", "eu-1"), service("a"), pod("a-0", { ...at, uid: "u1", labels: { v: "1" } }), slice("a", "a", [{ address: "10.0.0.1", node: "n1", pod: { name: "a-0", uid: "u1" } }]));
    const registry = open();
    await watching();
    kubernetes.put(pod("a-0", { ...at, uid: "u1", labels: { v: "2" } }));
    await waitUntil(() => labelsOf(registry, "default/a")[0]?.["v"] === "2", { what: "new labels", intervalMs: 2 });
    kubernetes.put(node("n1", "eu", "eu-2"));
    await waitUntil(() => workloadsOf(registry, "default/a")[0]?.locality.zone === "eu-2", { what: "a new place", intervalMs: 2 });
    kubernetes.remove(pod("a-0"));
    kubernetes.put(pod("a-0", { ...at, uid: "u2", labels: { v: "3" } }), slice("a", "a", [{ address: "10.0.0.1", node: "n1", pod: { name: "a-0", uid: "u2" } }]));
    await waitUntil(() => labelsOf(registry, "default/a")[0]?.["v"] === "3", { what: "its successor", intervalMs: 2 });
    assert.deepEqual(workloadsOf(registry, "default/a").map(({ key }) => key), ["east/pod/u2"]);
  });

  it("follows zone hints, also where nothing else changes", async () => {
    kubernetes.put(service("a"), slice("a", "a", [{ address: "10.0.0.1", zoneHints: ["eu-1"] }, { address: "10.0.0.2" }]));
    const registry = open();
    await watching();
    const hinted = (): unknown => workloadsOf(registry, "default/a").map(({ zoneHints }) => zoneHints);
    await waitUntil(() => registry.status().notes.join().includes("default/a: 1 of its 2 endpoints is hinted for zones"), { what: "hints", intervalMs: 2 });
    assert.deepEqual(hinted(), [["eu-1"], undefined]);
    kubernetes.put(slice("a", "a", [{ address: "10.0.0.1", zoneHints: ["eu-2"] }, { address: "10.0.0.2", zoneHints: ["eu-1"] }]));
    await waitUntil(() => registry.status().notes.join().includes("2 of its 2 endpoints are hinted"), { what: "new hints", intervalMs: 2 });
    assert.deepEqual(hinted(), [["eu-2"], ["eu-1"]]);
    kubernetes.put(slice("a", "a", [{ address: "10.0.0.1" }, { address: "10.0.0.2" }]), service("a", { trafficDistribution: "PreferSameZone" }));
    await waitUntil(() => /^default\/a: its trafficDistribution PreferSameZone [^,]*$/.test(registry.status().notes.join()), { what: "no hints and a traffic distribution", intervalMs: 2 });
    assert.deepEqual(hinted(), [undefined, undefined]);
  });

  it("ends where a fresh one begins, after any mishap (property)", async () => {
    const mishap = fc.constantFrom("cut", "mend", "drop", "end", "expire", "compact", "bookmark", "repeat", "reverse", "silence", "speak", "reset");
    const change = fc.record({ name: fc.constantFrom("a", "b", "c"), count: fc.integer({ min: 0, max: 4 }), zone: fc.constantFrom(undefined, "eu-1", "eu-2") });
    await fc.assert(
      fc.asyncProperty(fc.array(fc.oneof({ weight: 3, arbitrary: change }, { weight: 2, arbitrary: mishap }), { maxLength: 15 }), async (steps) => {
        const registry = open({ pacing: { silenceMs: 40 } });
        for (const step of steps) {
          if (typeof step === "object") {
            const all = clusterObjects(step.name, instances(4));
            const wanted = clusterObjects(step.name, instances(step.count)).map((object) => hintedFor(step.zone, object));
            kubernetes.remove(...all.filter(({ kind, metadata }) => !wanted.some((one) => one.kind === kind && one.metadata.name === metadata.name)));
            kubernetes.put(...wanted);
          } else if (step === "cut") {
            kubernetes.faults.isCut = true;
            kubernetes.drop();
          } else if (step === "mend") delete kubernetes.faults.isCut;
          else if (step === "drop") kubernetes.drop();
          else if (step === "end") kubernetes.endWatches();
          else if (step === "expire") kubernetes.expire();
          else if (step === "compact") kubernetes.compact();
          else if (step === "bookmark") kubernetes.bookmark();
          else if (step === "repeat") kubernetes.repeat(4, "same");
          else if (step === "reverse") kubernetes.repeat(4, "reversed");
          else if (step === "silence") kubernetes.faults.isSilent = true;
          else if (step === "speak") delete kubernetes.faults.isSilent;
          else kubernetes.reset();
          // Some of the sequences are seen half-way.
          if (Math.random() < 0.5) await new Promise((resolve) => setTimeout(resolve, 3));
        }
        delete kubernetes.faults.isCut;
        delete kubernetes.faults.isSilent;
        const fresh = open();
        await synced(fresh);
        await waitUntil(
          () => {
            assert.deepEqual(contentOf(registry), contentOf(fresh));
            return registry.status().synced;
          },
          { what: "the same content", intervalMs: 3, timeoutMs: 20_000 },
        );
        await registry.close();
        await fresh.close();
        opened = [];
      }),
      { numRuns: 60 },
    );
  });
});

function instances(count: number) {
  return Array.from({ length: count }, (_, at) => ({ id: String(at + 1), port: 8_080, isHealthy: true }));
}

function workloadsOf(registry: Registry, key: string) {
  const backends = registry.services.get(key)?.backends;
  return backends?.kind === "explicit" ? backends.workloads : [];
}

function workloadCount(registry: Registry, key: string): number {
  return workloadsOf(registry, key).length;
}

function labelsOf(registry: Registry, key: string) {
  return workloadsOf(registry, key).map(({ labels }) => labels);
}

function contentOf({ services }: Registry) {
  return [...services.entries()].sort(([left], [right]) => (left < right ? -1 : 1));
}
