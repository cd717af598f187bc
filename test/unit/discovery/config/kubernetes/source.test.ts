import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { parseDocuments } from "../../../../../api/document.ts";
import { clusterAllowance } from "../../../../../cli/control-plane/cluster-config.ts";
import { controlPlaneSchema } from "../../../../../cli/control-plane/config.ts";
import { SourceCollection } from "../../../../../base/collection.ts";
import { type Clock, systemClock } from "../../../../../base/clock.ts";
import { type Config, startConfig } from "../../../../../discovery/config/config.ts";
import { type KubernetesConfig, type KubernetesConfigOptions, startKubernetesConfig } from "../../../../../discovery/config/kubernetes/source.ts";
import { createLastGood } from "../../../../../discovery/config/last-good.ts";
import type { ConfigSource, ConfigUnit } from "../../../../../discovery/config/unit.ts";
import type { KeyValueStore } from "../../../../../store/key-value.ts";
import { createMemoryStore } from "../../../../../store/memory.ts";
import { FakeKubernetes } from "../../../../fakes/kubernetes-server.ts";
import { istio } from "../../../../support/kubernetes-objects.ts";
import type { KubernetesObject } from "../../../../support/kubernetes-objects.ts";
import { waitUntil } from "../../../../support/wait-until.ts";

const KIND_COUNT = 7;
const FAST = { pageSize: 2, resumeMs: 1, gatherMs: 2, resetHoldMs: 10, absentMs: 2, backoff: { baseMs: 2, maxMs: 10 } };
const POD_PORTS = [{ number: 80, name: "http" }];

const rule = (name: string, host = name, namespace = "shop"): KubernetesObject => istio("DestinationRule", name, { host }, { namespace });

describe("a cluster as a source of configuration", () => {
  let kubernetes: FakeKubernetes;
  let folder: string;
  let kubeconfig: string;
  let store: KeyValueStore;
  let closings: (() => unknown)[];

  beforeEach(async () => {
    kubernetes = await new FakeKubernetes().listen();
    kubernetes.istioVersions = ["v1", "v1beta1"];
    folder = await mkdtemp(join(tmpdir(), "ironmesh-kubernetes-"));
    kubeconfig = join(folder, "config");
    await writeFile(kubeconfig, kubernetes.kubeconfig());
    store = createMemoryStore();
    closings = [];
  });

  afterEach(async () => {
    await closeAll();
    await kubernetes.close();
    await rm(folder, { recursive: true });
  });

  async function closeAll(): Promise<void> {
    for (const close of closings.reverse()) await close();
    closings = [];
  }

  function openSource(options: Partial<KubernetesConfigOptions> = {}): KubernetesConfig {
    const source = startKubernetesConfig({ name: "east", meshDomain: "mesh.internal", trustDomain: "mesh.internal", clusterDomain: "cluster.local", istioRootNamespace: "istio-system", kubeconfig, clock: systemClock, ...options, pacing: { ...FAST, ...options.pacing } });
    closings.push(() => source.close());
    return source;
  }

  /** A source joined with what was good before, and with others. */
  async function open(options: Partial<KubernetesConfigOptions> = {}, others: readonly ConfigSource[] = []): Promise<{ readonly config: Config; readonly source: KubernetesConfig }> {
    const registry = { kind: "kubernetes", name: "east", resources: true, ...(options.resourceHosts === undefined ? {} : { resourceHosts: options.resourceHosts }) };
    const lastGood = createLastGood({ store, isAllowed: clusterAllowance(controlPlaneSchema.parse({ registries: [registry] })) });
    closings.push(() => lastGood.close());
    const source = openSource(options);
    const config = await startConfig({ sources: [...others, source], lastGood });
    closings.push(() => config.close());
    return { config, source };
  }

  const keys = (config: Config): string[] => [...config.resources.entries().keys()].sort();
  const until = (what: string, condition: () => boolean): Promise<boolean> => waitUntil(condition, { what, intervalMs: 2 });
  const has = (config: Config, ...wanted: readonly string[]): Promise<boolean> => until(`${wanted.join()}, not ${keys(config).join()}`, () => keys(config).join() === [...wanted].sort().join());
  const problemsOf = (config: Config): string[] => [...config.statuses.entries().values()].filter(({ kind }) => kind === "").flatMap(({ position, issues }) => issues.map(({ code, message }) => `${position.file}: ${code} ${message}`)).sort();
  const watching = (): Promise<boolean> => until("the watches", () => kubernetes.watching === KIND_COUNT);

  it("reads every kind of Istio's that the mesh has, in pages, out of the wanted namespaces, and follows it", async () => {
    const to = (host: string) => ({ route: [{ destination: { host } }] });
    kubernetes.put(
      istio("ServiceEntry", "old", { hosts: ["old.shop.svc.cluster.local"], ports: POD_PORTS, resolution: "STATIC", workloadSelector: { labels: { app: "old" } } }),
      istio("WorkloadEntry", "old-1", { address: "10.0.0.7", labels: { app: "old" } }),
      istio("WorkloadGroup", "web", { template: { serviceAccount: "web" } }),
      istio("VirtualService", "old", { hosts: ["old.shop.svc.cluster.local"], http: [to("old.shop.svc.cluster.local")] }),
      ...["a", "b", "c", "d", "e"].map((name) => rule(name)),
      istio("PeerAuthentication", "default", { mtls: { mode: "STRICT" } }),
      istio("AuthorizationPolicy", "none", {}),
      rule("machinery", "a", "kube-system"),
    );
    const { config, source } = await open();
    const rules = (...names: readonly string[]): string[] => names.map((name) => `DestinationRule/east-shop/${name}`);
    const others = ["ServiceEntry/east-shop/old", "WorkloadEntry/east-shop/old-1", "WorkloadGroup/east-shop/web", "VirtualService/east-shop/old", "PeerAuthentication/east-shop/default", "AuthorizationPolicy/east-shop/none"];
    await has(config, ...rules("a", "b", "c", "d", "e"), ...others);
    assert.deepEqual([...new Set([...config.statuses.entries().values()].map(({ state, origin }) => `${state} of ${origin}`))], ["accepted of kubernetes"]);
    assert.deepEqual(source.notes(), []);
    assert.ok(kubernetes.questions.some(({ plural, query }) => plural === "destinationrules" && query.has("continue")));
    await watching();
    kubernetes.remove(rule("a"), istio("AuthorizationPolicy", "none", {}));
    kubernetes.put(rule("f"));
    await has(config, ...rules("b", "c", "d", "e", "f"), ...others.slice(0, -1));
    kubernetes.put(rule("wide", "a", "istio-system"));
    const { config: only } = await open({ namespaces: ["kube-system"] });
    await has(only, "DestinationRule/east-kube-system/machinery", "DestinationRule/east-istio-system/wide");
  });

  it("asks in the version that the cluster prefers of those that the mesh reads, and in another when that is taken away", async () => {
    kubernetes.istioVersions = ["v2", "v1beta1", "v1"];
    kubernetes.put(rule("a"));
    const { config } = await open();
    await has(config, "DestinationRule/east-shop/a");
    await watching();
    const paths = (): string[] => [...new Set(kubernetes.questions.filter(({ plural, query }) => plural === "destinationrules" && !query.has("watch")).map(({ path }) => path))];
    assert.deepEqual(paths(), ["/apis/networking.istio.io/v1beta1/destinationrules"]);
    kubernetes.istioVersions = ["v1"];
    kubernetes.put(rule("b"));
    kubernetes.drop();
    await has(config, "DestinationRule/east-shop/a", "DestinationRule/east-shop/b");
    kubernetes.put(rule("c"));
    await has(config, ...["a", "b", "c"].map((name) => `DestinationRule/east-shop/${name}`));
    assert.deepEqual(paths().at(-1), "/apis/networking.istio.io/v1/destinationrules");
    assert.deepEqual(problemsOf(config), []);
  });

  it("does not believe that a kind is gone because it was away before and after the cluster itself", async () => {
    let passedMs = 0;
    const clock: Clock = { ...systemClock, elapsed: () => systemClock.elapsed() + passedMs };
    kubernetes.put(rule("a"));
    const { config, source } = await open({ clock, pacing: { resetHoldMs: 60_000 } });
    await has(config, "DestinationRule/east-shop/a");
    await watching();
    let lost = 0;
    config.resources.subscribe((changes) => (lost += changes.filter(({ after }) => after === undefined).length));
    const isToldAbsent = (): boolean => source.notes().length === 1;
    kubernetes.lacking.add("destinationrules");
    kubernetes.drop();
    await until("the note", isToldAbsent);
    kubernetes.faults.isCut = true;
    kubernetes.drop();
    await until("the failure of all kinds", () => problemsOf(config).some((problem) => problem.startsWith("kubernetes:east: IM0203")));
    passedMs = 120_000;
    const asked = kubernetes.questions.length;
    delete kubernetes.faults.isCut;
    const describes = (): number => kubernetes.questions.slice(asked).filter(({ path }) => path === "/apis/networking.istio.io/v1").length;
    await until("it to be looked for again", () => describes() > 10 && !problemsOf(config).some((problem) => problem.includes("IM0203")));
    kubernetes.lacking.clear();
    await until("no note", () => source.notes().length === 0);
    await has(config, "DestinationRule/east-shop/a");
    assert.equal(lost, 0);
  });

  it("finds kinds that are installed later, and says meanwhile that they are not, which is no failure", async () => {
    kubernetes.lacking.add("destinationrules");
    kubernetes.put(istio("WorkloadGroup", "web", { template: {} }));
    const { config, source } = await open();
    await has(config, "WorkloadGroup/east-shop/web");
    await until("the note", () => source.notes().length === 1);
    assert.deepEqual(source.notes(), ["its cluster does not have Istio's DestinationRule: they are read when they are installed"]);
    assert.deepEqual(problemsOf(config), []);
    kubernetes.put(rule("a"));
    kubernetes.lacking.clear();
    await has(config, "WorkloadGroup/east-shop/web", "DestinationRule/east-shop/a");
    await until("no note", () => source.notes().length === 0);
  });

  it("believes that a kind is taken away with all that it said when it lasts, also one that a new start never saw", async () => {
    kubernetes.put(rule("a"));
    const { config } = await open({ pacing: { resetHoldMs: 60_000 } });
    await has(config, "DestinationRule/east-shop/a");
    await watching();
    kubernetes.istioVersions = [];
    kubernetes.drop();
    const asked = kubernetes.questions.length;
    await until("questions in vain", () => kubernetes.questions.length > asked + 40);
    assert.deepEqual(keys(config), ["DestinationRule/east-shop/a"]);
    await closeAll();
    const { config: next } = await open({ pacing: { resetHoldMs: 60_000 } });
    const before = kubernetes.questions.length;
    await until("questions in vain", () => kubernetes.questions.length > before + 40);
    assert.deepEqual(keys(next), ["DestinationRule/east-shop/a"]);
    await closeAll();
    const { config: last } = await open();
    await has(last);
    assert.deepEqual(problemsOf(last), []);
  });

  it("keeps what a cluster said while it is away, over a new start too, and says since when", async () => {
    kubernetes.put(rule("a"));
    const { config } = await open();
    await has(config, "DestinationRule/east-shop/a");
    await watching();
    kubernetes.faults.status = 503;
    kubernetes.drop();
    await until("the problem", () => problemsOf(config).length === 1 && problemsOf(config)[0]?.startsWith("kubernetes:east: ") === true);
    assert.match(problemsOf(config)[0] ?? "", /^kubernetes:east: IM0203 cannot be read: kubernetes answered 503: refused by the fake; it was read last at \d{4}-/);
    assert.deepEqual(keys(config), ["DestinationRule/east-shop/a"]);
    await closeAll();
    const { config: next } = await open();
    await until("the problem alone", () => problemsOf(next).length === 1 && /^kubernetes:east: .* was not read since the start/.test(problemsOf(next)[0] ?? ""));
    assert.deepEqual(keys(next), ["DestinationRule/east-shop/a"]);
    assert.equal(next.statuses.get("DestinationRule/east-shop/a")?.state, "rejected");
    assert.equal(next.resources.get("DestinationRule/east-shop/a")?.confinedTo, "east-");
    kubernetes.faults.status = 200;
    delete kubernetes.faults.status;
    kubernetes.remove(rule("a"));
    kubernetes.put(rule("b"));
    await has(next, "DestinationRule/east-shop/b");
    await until("no problem", () => problemsOf(next).length === 0);
  });

  it("says which kind it may not read, and goes on with the others", async () => {
    kubernetes.faults.statusOf = { virtualservices: 403 };
    kubernetes.put(rule("a"));
    const { config } = await open();
    await has(config, "DestinationRule/east-shop/a");
    await until("the problem", () => problemsOf(config).length === 1);
    assert.match(problemsOf(config)[0] ?? "", /^kubernetes:east VirtualService: IM0203 cannot be read: kubernetes answered 403/);
  });

  it("keeps nothing that the cluster was allowed to say once, and is not any more", async () => {
    kubernetes.put(rule("a"), rule("b", "api.example.com"));
    const { config } = await open({ resourceHosts: ["*.example.com"] });
    await has(config, "DestinationRule/east-shop/a", "DestinationRule/east-shop/b");
    await watching();
    await closeAll();
    const { config: next } = await open();
    await until("the rejection", () => next.statuses.get("DestinationRule/east-shop/b")?.issues[0]?.code === "IM0206");
    assert.deepEqual(keys(next), ["DestinationRule/east-shop/a"]);
    await closeAll();
    kubernetes.faults.status = 503;
    const { config: away } = await open();
    await until("the problem", () => problemsOf(away).length === 1);
    assert.deepEqual(keys(away), ["DestinationRule/east-shop/a"], "also where it is not asked");
  });

  it("keeps the last good value of a resource that is not acceptable any more", async () => {
    kubernetes.put(rule("a"), rule("never", "payments.prod.svc.mesh.internal"));
    const { config } = await open();
    await has(config, "DestinationRule/east-shop/a");
    await watching();
    kubernetes.put(istio("DestinationRule", "a", { host: "payments.prod.svc.mesh.internal" }));
    await until("the rejection", () => config.statuses.get("DestinationRule/east-shop/a")?.state === "rejected");
    assert.deepEqual(config.resources.get("DestinationRule/east-shop/a")?.spec, { host: "a" });
    const [issue] = config.statuses.get("DestinationRule/east-shop/never")?.issues ?? [];
    assert.deepEqual([issue?.code, issue?.path, issue?.position?.file], ["IM0206", "spec.host", "kubernetes:east shop/never"]);
    kubernetes.put(rule("a", "other"));
    await until("the new value", () => config.statuses.get("DestinationRule/east-shop/a")?.state === "accepted");
  });

  it("comes behind files, which are in force for the same name", async () => {
    const text = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: a, namespace: east-shop}\nspec: {host: from-a-file}\n";
    const units = new SourceCollection<ConfigUnit>();
    units.apply([["a.yaml", { origin: "files", name: "a.yaml", documents: parseDocuments(text, "a.yaml", "files").documents }]]);
    kubernetes.put(rule("a"), rule("b"));
    const { config } = await open({}, [{ origin: "files", units, close() {} }]);
    await has(config, "DestinationRule/east-shop/a", "DestinationRule/east-shop/b");
    const status = config.statuses.get("DestinationRule/east-shop/a");
    assert.deepEqual([status?.state, status?.origin, status?.issues[0]?.position?.file], ["conflict", "files", "kubernetes:east shop/a"]);
    assert.deepEqual(config.resources.get("DestinationRule/east-shop/a")?.spec, { host: "from-a-file" });
  });

  it("ends where a fresh one begins, after any mishap (property)", async () => {
    const mishap = fc.constantFrom("cut", "mend", "drop", "end", "expire", "compact", "bookmark", "repeat", "reverse", "silence", "speak", "reset", "uninstall", "install", "rename");
    const change = fc.record({ name: fc.constantFrom("a", "b", "c"), host: fc.constantFrom("x", "y", "bank.com", undefined) });
    await fc.assert(
      fc.asyncProperty(fc.array(fc.oneof({ weight: 3, arbitrary: change }, { weight: 2, arbitrary: mishap }), { maxLength: 15 }), async (steps) => {
        const source = openSource({ pacing: { silenceMs: 40 } });
        for (const step of steps) {
          if (typeof step === "object") {
            const objects = (host: string) => [rule(step.name, host), istio("VirtualService", step.name, { hosts: [host], http: [{ route: [{ destination: { host } }] }] })];
            if (step.host === undefined) kubernetes.remove(...objects(""));
            else kubernetes.put(...objects(step.host));
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
          else if (step === "uninstall") kubernetes.lacking.add("destinationrules");
          else if (step === "install") kubernetes.lacking.clear();
          else if (step === "rename") kubernetes.istioVersions = kubernetes.istioVersions.toReversed();
          else kubernetes.reset();
          // Some of the sequences are seen half-way.
          if (Math.random() < 0.5) await new Promise((resolve) => setTimeout(resolve, 3));
        }
        delete kubernetes.faults.isCut;
        delete kubernetes.faults.isSilent;
        // What lacks is only heard of by those who ask anew.
        kubernetes.drop();
        const fresh = openSource();
        const hasProblem = (one: KubernetesConfig): boolean => [...one.units.entries().values()].some(({ problem }) => problem !== undefined);
        await waitUntil(
          () => {
            assert.deepEqual(contentOf(source), contentOf(fresh));
            assert.deepEqual(source.notes(), fresh.notes());
            return !hasProblem(source) && !hasProblem(fresh);
          },
          { what: "the same content", intervalMs: 3, timeoutMs: 20_000 },
        );
        kubernetes.lacking.clear();
        await closeAll();
      }),
      { numRuns: 60 },
    );
  });
});

function contentOf({ units }: KubernetesConfig): unknown {
  return [...units.entries()].sort(([left], [right]) => (left < right ? -1 : 1));
}
