import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AnyResource } from "../../../../api/resource.ts";
import { resourceKey } from "../../../../api/resource.ts";
import { SourceCollection } from "../../../../base/collection.ts";
import { systemClock } from "../../../../base/clock.ts";
import { createAgentsRegistry, LIVENESS_DEFAULTS } from "../../../../discovery/registry/agents/registry.ts";
import { createConsulRegistry } from "../../../../discovery/registry/consul/registry.ts";
import type { Registry, WorkloadTemplate } from "../../../../discovery/registry/registry.ts";
import { createKubernetesRegistry } from "../../../../discovery/registry/kubernetes/registry.ts";
import { createStaticRegistry } from "../../../../discovery/registry/static/registry.ts";
import { createMemoryStore } from "../../../../store/memory.ts";
import { FakeConsul } from "../../../fakes/consul-server.ts";
import { FakeKubernetes } from "../../../fakes/kubernetes-server.ts";
import { hostReport, workloadReport } from "../../../support/host-report.ts";
import { clusterObjects } from "../../../support/kubernetes-objects.ts";
import { describeRegistryConformance } from "../../../support/registry-conformance.ts";
import type { RegistryWorld, SampleInstance } from "../../../support/registry-conformance.ts";
import { resource } from "../../../support/resource.ts";

describe("static registry", () => describeRegistryConformance({ open: openStatic, numRuns: 100 }));
describe("agents registry", () => describeRegistryConformance({ open: openAgents, numRuns: 100 }));
describe("consul registry over the fake", () => describeRegistryConformance({ open: openConsul, numRuns: 40 }));

describe("kubernetes registry over the fake", () => describeRegistryConformance({ open: openKubernetes, numRuns: 40 }));

/** Services by selector, instances as WorkloadEntries; configuration is never away. */
async function openStatic(): Promise<RegistryWorld> {
  const config = new SourceCollection<AnyResource>();
  const start = async (): Promise<Registry> => {
    const registry = createStaticRegistry({ config, meshDomain: "mesh.internal" });
    registry.start();
    return registry;
  };
  const registry = await start();
  return {
    registry,
    async set(service, instances) {
      const prefix = `WorkloadEntry/default/${service}-`;
      const gone = [...config.entries().keys()].filter((key) => key.startsWith(prefix));
      const written: AnyResource[] = instances.map(({ id, port, isHealthy }) =>
        resource("WorkloadEntry", `${service}-${id}`, { address: "10.0.0.1", ports: { http: port }, labels: { app: service, ok: String(isHealthy) } }),
      );
      const head = resource("Service", service, { selector: { app: service }, ports: [{ name: "http", port: 80 }] });
      config.apply(
        new Map<string, AnyResource | undefined>([
          ...gone.map((key) => [key, undefined] as const),
          [resourceKey(head), instances.length === 0 ? undefined : head],
          ...written.map((one) => [resourceKey(one), one] as const),
        ]),
      );
    },
    async disconnect() {},
    async reconnect() {},
    fresh: start,
    async close() {
      await registry.close();
    },
  };
}

/** Each instance is a workload of a host of its own. */
async function openAgents(): Promise<RegistryWorld> {
  const store = createMemoryStore();
  const templates = new SourceCollection<WorkloadTemplate>();
  const reports = new Map<string, { readonly service: string; readonly instance: SampleInstance }>();
  const streams = new Map<string, () => void>();
  let isConnected = true;

  const create = async () => {
    const agents = createAgentsRegistry({
      templates,
      store,
      clock: systemClock,
      liveness: LIVENESS_DEFAULTS,
      grants: { allowsGroup: () => true, allowsAddress: () => true },
    });
    await agents.load();
    agents.start();
    agents.ready();
    return agents;
  };
  const registry = await create();
  type Agents = typeof registry;

  // Each host has its own: `a-1` is 10.0.10.1.
  const addressOf = (hostId: string): string => `10.0.${Number.parseInt(hostId.slice(0, 1), 36)}.${hostId.slice(2)}`;
  const send = (agents: Agents, hostId: string): void => {
    const reported = reports.get(hostId);
    if (reported === undefined) return;
    const { service, instance } = reported;
    agents.report(hostId, hostReport([
      workloadReport({ name: service, group: `default/${service}`, addresses: [addressOf(hostId)], ports: { http: instance.port }, health: instance.isHealthy ? "healthy" : "unhealthy" }),
    ]));
  };
  const connect = (hostId: string): void => {
    if (!streams.has(hostId)) streams.set(hostId, registry.connected(hostId));
    send(registry, hostId);
  };

  return {
    registry,
    async set(service, instances) {
      templates.apply([[`default/${service}`, { namespace: "default", name: service, labels: { app: service }, ports: { http: 80 }, serviceAccount: service, locality: "", network: "", weight: 1 }]]);
      const prefix = `${service}-`;
      const staying = new Set(instances.map(({ id }) => prefix + id));
      for (const hostId of reports.keys()) {
        if (!hostId.startsWith(prefix) || staying.has(hostId)) continue;
        reports.delete(hostId);
        registry.remove(hostId);
        streams.get(hostId)?.();
        streams.delete(hostId);
      }
      for (const instance of instances) {
        reports.set(prefix + instance.id, { service, instance });
        if (isConnected) connect(prefix + instance.id);
      }
    },
    async disconnect() {
      isConnected = false;
      for (const lost of streams.values()) lost();
      streams.clear();
    },
    async reconnect() {
      isConnected = true;
      for (const hostId of reports.keys()) connect(hostId);
    },
    async fresh() {
      // What the first one writes to the store behind its caller's back is there after this turn.
      await new Promise(setImmediate);
      const agents = await create();
      for (const hostId of reports.keys()) {
        agents.connected(hostId);
        send(agents, hostId);
      }
      return agents;
    },
    async close() {
      await registry.close();
    },
  };
}

async function openConsul(): Promise<RegistryWorld> {
  const consul = await new FakeConsul().listen();
  const start = async (): Promise<Registry> => {
    const registry = createConsulRegistry({
      name: "consul",
      namespace: "consul",
      meshDomain: "mesh.internal",
      address: consul.address,
      clock: systemClock,
      pacing: { waitMs: 300, intervalMs: 1, resetHoldMs: 10, backoff: { baseMs: 2, maxMs: 10 } },
    });
    registry.start();
    return registry;
  };
  const registry = await start();
  const known = new Map<string, readonly SampleInstance[]>();
  return {
    registry,
    async set(service, instances) {
      const staying = new Set(instances.map(({ id }) => id));
      const gone = (known.get(service) ?? []).filter(({ id }) => !staying.has(id));
      known.set(service, instances);
      if (gone.length > 0) consul.remove(...gone.map(({ id }) => `${service}-${id}`));
      consul.put(
        ...instances.map(({ id, port, isHealthy }) => ({
          id: `${service}-${id}`,
          service,
          port,
          checks: [{ CheckID: "c", Name: "probe", Status: isHealthy ? "passing" : "critical", Output: "" }],
        })),
      );
    },
    async disconnect() {
      consul.faults.isCut = true;
      consul.drop();
    },
    async reconnect() {
      delete consul.faults.isCut;
    },
    fresh: start,
    async close() {
      await registry.close();
      await consul.close();
    },
  };
}

async function openKubernetes(): Promise<RegistryWorld> {
  const kubernetes = await new FakeKubernetes().listen();
  const folder = await mkdtemp(join(tmpdir(), "ironmesh-kubernetes-"));
  const kubeconfig = join(folder, "config");
  await writeFile(kubeconfig, kubernetes.kubeconfig());
  const start = async (): Promise<Registry> => {
    const registry = createKubernetesRegistry({
      name: "kubernetes",
      meshDomain: "mesh.internal",
      kubeconfig,
      clock: systemClock,
      pacing: { pageSize: 3, resumeMs: 1, gatherMs: 5, backoff: { baseMs: 2, maxMs: 10 } },
    });
    registry.start();
    return registry;
  };
  const registry = await start();
  const known = new Map<string, ReturnType<typeof clusterObjects>>();
  return {
    registry,
    async set(service, instances) {
      const next = clusterObjects(service, instances);
      const staying = new Set(next.map(({ kind, metadata }) => `${kind}/${metadata.name}`));
      kubernetes.remove(...(known.get(service) ?? []).filter(({ kind, metadata }) => !staying.has(`${kind}/${metadata.name}`)));
      kubernetes.put(...next);
      known.set(service, next);
    },
    async disconnect() {
      kubernetes.faults.isCut = true;
      kubernetes.drop();
    },
    async reconnect() {
      delete kubernetes.faults.isCut;
    },
    fresh: start,
    async close() {
      await registry.close();
      await kubernetes.close();
      await rm(folder, { recursive: true });
    },
  };
}
