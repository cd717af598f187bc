import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";
import { systemClock } from "../../base/clock.ts";
import type { EndpointView, RegistryView, ServiceDescriptionView, ServiceView } from "../../discovery/http/api.ts";
import { createKubernetesClient } from "../../discovery/kubernetes/client.ts";
import { createKubernetesRegistry } from "../../discovery/registry/kubernetes/registry.ts";
import type { KubernetesRegistryOptions } from "../../discovery/registry/kubernetes/registry.ts";
import type { Registry, RegistryService } from "../../discovery/registry/registry.ts";
import { prepareControlPlane } from "../support/control-plane.ts";
import { startCuttableRelay } from "../support/cuttable-relay.ts";
import { KubernetesApi } from "../support/kubernetes-api.ts";
import { clusterObjects, node, pod, service, slice } from "../support/kubernetes-objects.ts";
import type { KubernetesObject } from "../support/kubernetes-objects.ts";
import { openKubernetesWorld } from "../support/kubernetes-world.ts";
import { kubernetesPrograms } from "../support/kubernetes.ts";
import { describeRegistryConformance } from "../support/registry-conformance.ts";
import { startScramblingRelay } from "../support/scrambling-relay.ts";
import type { ScramblingRelay } from "../support/scrambling-relay.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { waitUntil } from "../support/wait-until.ts";

const programs = kubernetesPrograms();
/** As the shipped rights name it; the other one has none. */
const ACCOUNT = "system:serviceaccount:ironmesh:ironmesh-registry";
const FAST = { resumeMs: 20, gatherMs: 20, backoff: { baseMs: 20, maxMs: 500 } };

(programs === undefined ? describe.skip : describe)(programs === undefined ? "kubernetes (no kube-apiserver and etcd, and no Go to build them)" : "kubernetes", () => {
  let api: KubernetesApi;
  let kubeconfig: string;
  const shipped = parseAllDocuments(readFileSync(join(import.meta.dirname, "..", "..", "docs", "kubernetes", "rbac.yaml"), "utf8")).map((document) => document.toJS() as KubernetesObject);

  before(async () => {
    assert.ok(programs !== undefined);
    api = await KubernetesApi.start(programs, { reader: ACCOUNT, stranger: "nobody" });
    kubeconfig = await api.kubeconfig("reader");
    await api.apply(...shipped);
  });

  after(() => api.stop());

  function startedRegistry(options: Partial<KubernetesRegistryOptions> = {}): Registry {
    const registry = createKubernetesRegistry({ name: "kubernetes", meshDomain: "mesh.internal", kubeconfig, clock: systemClock, ...options, pacing: { ...FAST, ...options.pacing } });
    registry.start();
    return registry;
  }

  describeRegistryConformance({ open: () => openKubernetesWorld(api, startedRegistry), numRuns: 4 });

  describe("whose events come twice, late and in another order", () => {
    const random = seededRandom();
    let scrambling: ScramblingRelay;

    before(async () => {
      scrambling = await startScramblingRelay({ targetPort: api.port, identity: await api.identity(), random });
    });

    after(async () => {
      await scrambling.close();
      for (const [what, times] of Object.entries(scrambling.done)) assert.ok(times > 10, `${times} events were ${what}, seed ${random.seed}`);
    });

    describeRegistryConformance({ open: () => openKubernetesWorld(api, startedRegistry, scrambling.port), numRuns: 6 });
  });

  it("is enough for the shipped rights, and each of them is needed", async () => {
    await api.apply(service("web"));
    const registry = startedRegistry();
    const stranger = startedRegistry({ kubeconfig: await api.kubeconfig("stranger") });
    const role = shipped.find(({ kind }) => kind === "ClusterRole");
    assert.ok(role !== undefined);
    try {
      await waitUntil(() => registry.services.get("default/web") !== undefined, { what: "the service" });
      assert.equal(registry.status().lastError, undefined);
      await waitUntil(() => stranger.status().lastError?.code === "MESH_REGISTRY_DENIED", { what: "the stranger's denial" });
      assert.equal(stranger.services.entries().size, 0);
      for (const [denied, needed] of [["services", true], ["endpointslices", true], ["pods", false], ["nodes", false]] as const) {
        for (const verb of ["list", "watch"]) {
          await api.apply({ ...role, rules: rulesWithout(role, denied, verb) });
          const lacking = startedRegistry();
          await waitUntil(() => lacking.status().lastError?.code === "MESH_REGISTRY_DENIED", { what: `a denial without ${verb} of ${denied}` });
          assert.match(lacking.status().lastError?.message ?? "", new RegExp(`cannot ${verb} resource \\"?${denied}`));
          if (!needed) await waitUntil(() => lacking.services.get("default/web") !== undefined, { what: "services all the same" });
          else if (verb === "list") assert.equal(lacking.status().synced, false);
          await lacking.close();
        }
      }
      await api.apply(role);
    } finally {
      await registry.close();
      await stranger.close();
      await api.remove(service("web"));
    }
  });

  it("reads services, slices, pods and nodes as the real one writes them", async () => {
    const webPod = pod("web-1", { addresses: ["10.1.0.1", "fd00::1"], labels: { app: "web", version: "v2" }, node: "n1" });
    const objects = [
      node("n1", "eu", "eu-1"),
      webPod,
      pod("mesh-1", { addresses: ["10.1.0.2"], annotations: { "sidecar.istio.io/status": "{}" } }),
      service("web", {
        ipFamilyPolicy: "RequireDualStack",
        ipFamilies: ["IPv6", "IPv4"],
        ports: [{ name: "http", port: 80, targetPort: "web", protocol: "TCP" }, { name: "rpc", port: 81, appProtocol: "grpc", protocol: "TCP" }, { name: "dns", port: 53, protocol: "UDP" }],
      }),
      ...(["IPv4", "IPv6"] as const).map((addressType) =>
        slice(`web-${addressType.toLowerCase()}`, "web", [{ address: addressType === "IPv4" ? "10.1.0.1" : "fd00::1", pod: { name: "web-1", uid: "" }, node: "n1" }], {
          addressType,
          ports: [{ name: "http", port: 8_080 }, { name: "rpc", port: 8_081 }],
        }),
      ),
      service("headless", { clusterIP: "None" }),
      slice("headless-a", "headless", [{ address: "10.1.0.2", pod: { name: "mesh-1", uid: "" }, conditions: { ready: false, serving: true, terminating: true } }, { address: "10.1.0.9", zone: "eu-7" }]),
      service("db", { type: "ExternalName", externalName: "db.example.com", ports: [{ name: "mysql", port: 3_306, protocol: "TCP" }] }),
    ];
    await api.apply(...objects);
    const registry = startedRegistry();
    try {
      await waitUntil(() => registry.status().synced, { what: "the first content" });
      const web = registry.services.get("default/web");
      assert.deepEqual(web?.ports.map(({ number, protocol }) => [number, protocol]), [[80, "HTTP"], [81, "GRPC"]]);
      assert.equal(web?.hostname, "web.kubernetes-default.svc.mesh.internal");
      const [instance, ...others] = workloadsOf(web);
      assert.equal(others.length, 0);
      assert.match(instance?.key ?? "", /^kubernetes\/pod\/[0-9a-f-]{36}$/);
      assert.deepEqual(instance?.addresses, ["fd00::1", "10.1.0.1"]);
      assert.deepEqual(instance?.ports, { http: 8_080, rpc: 8_081 });
      assert.deepEqual([instance?.labels["version"], instance?.serviceAccount, instance?.locality.zone], ["v2", "default", "eu-1"]);
      const headless = registry.services.get("default/headless");
      assert.deepEqual(workloadsOf(headless).map(({ addresses, health, locality }) => [addresses[0], health, locality.zone]), [["10.1.0.9", "healthy", "eu-7"], ["10.1.0.2", "draining", ""]]);
      assert.match(headless?.notes.join() ?? "", /in an Istio mesh/);
      assert.equal(registry.services.get("default/db")?.resolution, "dns");
      // A pod that has finished is gone, whatever its slice says.
      await api.apply({ ...webPod, status: { phase: "Succeeded" } });
      await waitUntil(() => Object.keys(workloadsOf(registry.services.get("default/web"))[0]?.labels ?? { some: "" }).length === 0, { what: "a pod without labels" });
    } finally {
      await registry.close();
      await api.remove(...objects);
    }
  });

  it("outlives an API server that stops, and takes what changed until it is reached again, also after compaction", async () => {
    const relay = await startCuttableRelay(api.port);
    await api.apply(...clusterObjects("kept", three), ...clusterObjects("lost", three));
    const registry = startedRegistry({ kubeconfig: await api.kubeconfig("reader", relay.port) });
    try {
      await waitUntil(() => countOf(registry, "kept") === 3 && countOf(registry, "lost") === 3, { what: "the instances" });
      await api.stopApiServer();
      await waitUntil(() => registry.status().lastError?.code === "MESH_REGISTRY_UNREACHABLE", { what: "the loss" });
      assert.equal(countOf(registry, "kept"), 3);
      relay.cut();
      await api.startApiServer();
      await api.remove(...clusterObjects("lost", three), ...clusterObjects("kept", three).slice(-2));
      await api.compact();
      relay.mend();
      await waitUntil(() => countOf(registry, "kept") === 2 && registry.services.get("default/lost") === undefined, { what: "what changed" });
      await waitUntil(() => registry.status().lastError === undefined, { what: "the end of the failure" });
    } finally {
      await registry.close();
      await relay.close();
      await api.remove(...clusterObjects("kept", three));
    }
  });

  it("is one registry beside another of the same namespaces, and its services outlive the control plane while it is away", async () => {
    const [east, west] = [await startCuttableRelay(api.port), await startCuttableRelay(api.port)];
    const mesh = prepareControlPlane([
      { kind: "kubernetes", name: "east", kubeconfig: await api.kubeconfig("reader", east.port) },
      { kind: "kubernetes", name: "west", kubeconfig: await api.kubeconfig("reader", west.port), network: "west" },
    ]);
    const read = async <T>(...args: readonly string[]): Promise<T> => JSON.parse(await mesh.ironmesh("get", ...args, "-o", "json")) as T;
    const service = async (namespace: string) => (await read<ServiceView[]>("services")).find((one) => one.namespace === namespace && one.name === "web");
    await api.apply(...clusterObjects("web", three));
    try {
      await mesh.start();
      await waitUntil(async () => (await service("east-default"))?.vips.length === 2 && (await service("west-default"))?.endpoints.healthy === 3, { what: "both clusters" });
      assert.equal((await service("west-default"))?.hostname, "web.west-default.svc.mesh.internal");
      assert.match((await service("west-default"))?.notes.join() ?? "", /the name web\.default\.svc\.cluster\.local belongs to east-default\/web/);
      assert.deepEqual((await service("east-default"))?.notes, []);
      await mesh.stop();
      east.cut();
      await mesh.start();
      await waitUntil(async () => (await read<RegistryView[]>("registries")).find(({ name }) => name === "east")?.error.includes("kubernetes does not answer"), { what: "the loss" });
      await waitUntil(async () => (await service("west-default"))?.endpoints.healthy === 3, { what: "the other one" });
      const endpoints = (await read<EndpointView[]>("endpoints")).filter(({ service }) => service === "east-default/web");
      assert.deepEqual(endpoints.map(({ health, port, meshed }) => [health, port, meshed]), [["unknown", 80, false], ["unknown", 80, false], ["unknown", 80, false]]);
      east.mend();
      await waitUntil(async () => (await service("east-default"))?.endpoints.healthy === 3, { what: "its return" });
    } finally {
      await mesh.close();
      await east.close();
      await west.close();
      await api.remove(...clusterObjects("web", three));
    }
  });

  it("shows zone hints and the traffic distribution of services, and follows what changes of them", async () => {
    const mesh = prepareControlPlane([{ kind: "kubernetes", name: "east", kubeconfig, namespaces: ["default"] }]);
    const read = async <T>(...args: readonly string[]): Promise<T> => JSON.parse(await mesh.ironmesh(...args, "-o", "json")) as T;
    const described = () => read<ServiceDescriptionView>("describe", "service", "east-default/web");
    const hinted = (zoneHints: readonly string[]) => slice("web-a", "web", [{ address: "10.1.0.1", zoneHints }, { address: "10.1.0.2" }]);
    // What the API server takes, it gives us; more than eight zones are not among that.
    await assert.rejects(api.apply(hinted(Array.from({ length: 9 }, (_, at) => `eu-${at}`))), /422.*forZones/s);
    await api.apply(service("web", { trafficDistribution: "PreferClose" }), hinted(["eu-2", "eu-1"]));
    try {
      await mesh.start();
      await waitUntil(async () => (await read<ServiceView[]>("get", "services")).some(({ name }) => name === "web"), { what: "the service" });
      const [first, second] = (await described()).endpoints;
      assert.deepEqual([first?.addresses, first?.zoneHints, first?.getsTraffic], [["10.1.0.1"], ["eu-1", "eu-2"], true]);
      assert.deepEqual([second?.addresses, second?.zoneHints, second?.getsTraffic], [["10.1.0.2"], [], true]);
      const notes = ["1 of its 2 endpoints is hinted for zones, which callers in the mesh do not keep to yet", "its trafficDistribution PreferClose is for callers in the cluster: those in the mesh do not go by it yet"];
      assert.deepEqual((await described()).notes, notes);
      const table = await mesh.ironmesh("describe", "service", "east-default/web");
      assert.match(table, /ZONE HINTS.*\n.*10\.1\.0\.1:8080 .* eu-1,eu-2 +yes .*\n.*10\.1\.0\.2:8080 .* - +yes /);
      for (const note of notes) for (const printed of [table, await mesh.ironmesh("get", "services"), await mesh.ironmesh("get", "registries")]) assert.ok(printed.includes(note), printed);
      assert.deepEqual((await read<EndpointView[]>("get", "endpoints", "east-default/web")).map(({ address, zoneHints }) => [address, zoneHints]), [["10.1.0.1", ["eu-1", "eu-2"]], ["10.1.0.2", []]]);
      await api.apply(hinted(["eu-3"]));
      await waitUntil(async () => (await described()).endpoints[0]?.zoneHints.join() === "eu-3", { what: "another zone" });
      await api.apply(service("web", { trafficDistribution: "PreferSameNode" }), hinted([]));
      await waitUntil(async () => (await described()).notes.join() === notes[1]?.replace("PreferClose", "PreferSameNode"), { what: "no hint, and another distribution" });
      await api.apply(service("web"));
      await waitUntil(async () => (await described()).notes.length === 0, { what: "nothing to say" });
    } finally {
      await mesh.close();
      await api.remove(service("web"), hinted([]));
    }
  });

  it("hears 410 from the real one for a version that is compacted", async () => {
    const client = createKubernetesClient({ kubeconfig }, systemClock);
    const kind = { path: "/api/v1/services" };
    const { signal } = new AbortController();
    try {
      await api.apply(service("some"));
      const page = await client.list({ kind, limit: 1, continueToken: "", signal });
      await api.apply(service("some", { ports: [{ name: "http", port: 81, protocol: "TCP" }] }));
      await api.compact();
      // Its cache of recent changes begins anew with it, so that it has to ask etcd.
      await api.stopApiServer();
      await api.startApiServer();
      const end = await client.watch({ kind, version: page?.version ?? "", timeoutSeconds: 5, silenceMs: 60_000, onOpen() {}, onEvent() {}, signal });
      assert.equal(end, "gone");
    } finally {
      client.close();
      await api.remove(service("some"));
    }
  });

  it("keeps what was there when etcd loses everything, and takes it when it is written again", async () => {
    await api.apply(...shipped, ...clusterObjects("kept", three));
    const registry = startedRegistry({ pacing: { resetHoldMs: 120_000 } });
    try {
      await waitUntil(() => countOf(registry, "kept") === 3, { what: "the instances" });
      await api.stopApiServer();
      await api.wipeEtcd();
      await api.startEtcd();
      await api.startApiServer();
      await api.apply(...shipped);
      await waitUntil(() => registry.status().lastError?.code === "MESH_REGISTRY_SHRUNK", { what: "the reset to show" });
      assert.equal(countOf(registry, "kept"), 3);
      await api.apply(...clusterObjects("kept", four));
      await waitUntil(() => countOf(registry, "kept") === 4, { what: "the instances again" });
      await waitUntil(() => registry.status().lastError === undefined, { what: "the end of the failure" });
    } finally {
      await registry.close();
      await api.remove(...clusterObjects("kept", four));
    }
  });
});

const four = ["1", "2", "3", "4"].map((id) => ({ id, port: 80, isHealthy: true }));
const three = four.slice(0, 3);

function workloadsOf(service: RegistryService | undefined) {
  return service?.backends.kind === "explicit" ? service.backends.workloads : [];
}

function countOf(registry: Registry, service: string): number {
  return workloadsOf(registry.services.get(`default/${service}`)).length;
}

interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
}

function rulesWithout(role: KubernetesObject, resource: string, verb: string): Rule[] {
  return (role["rules"] as readonly Rule[]).flatMap(({ apiGroups, resources, verbs }) =>
    resources.map((one) => ({ apiGroups, resources: [one], verbs: one === resource ? verbs.filter((other) => other !== verb) : verbs })),
  );
}
