import assert from "node:assert/strict";
import { type AnyResource, resourceKey } from "../../api/resource.ts";
import { SourceCollection } from "../../base/collection.ts";
import { createCatalog } from "../../discovery/catalog/catalog.ts";
import type { SamenessRule } from "../../discovery/catalog/sameness.ts";
import { VipAllocator } from "../../discovery/catalog/vip.ts";
import { followProxyHosts } from "../../discovery/proxy-hosts.ts";
import type { PushInputs } from "../../discovery/push/inputs.ts";
import { type AgentsRegistry, createAgentsRegistry, LIVENESS_DEFAULTS } from "../../discovery/registry/agents/registry.ts";
import type { Registry } from "../../discovery/registry/registry.ts";
import { createStaticRegistry } from "../../discovery/registry/static/registry.ts";
import type { KeyValueStore } from "../../store/key-value.ts";
import { createMemoryStore } from "../../store/memory.ts";
import { hostReport, workloadReport } from "./host-report.ts";
import { createManualClock } from "./manual-clock.ts";

export const HOSTS = ["h1", "h2"];
export const BATCH_MS = 10;

/** One thing that somebody does to the mesh. */
export type Step =
  | { readonly do: "write" | "delete"; readonly resource: AnyResource }
  | { readonly do: "report"; readonly host: string; readonly groups: readonly string[]; readonly isHealthy: boolean; readonly changes?: ReportedChanges }
  | { readonly do: "leave"; readonly host: string }
  | { readonly do: "trust"; readonly root: string };

/** What a host says otherwise than usual. */
export interface ReportedChanges {
  readonly inboundPort?: number;
  /** Added to the port of each workload's outbound listener. */
  readonly outboundOffset?: number;
  readonly httpPort?: number;
  /** The host whose addresses it has: a machine that moved, or was made anew under another id. */
  readonly placeOf?: string;
}

/** The parts before the push engine, and what moves them. */
export interface Mesh {
  readonly inputs: PushInputs;
  readonly hosts: AgentsRegistry;
  readonly clock: ReturnType<typeof createManualClock>;
  take(step: Step): void;
  settled(): Promise<void>;
  close(): Promise<void>;
}

export interface MeshOptions {
  /** Registries behind those of files and hosts. */
  readonly others?: readonly Registry[];
  readonly sameness?: readonly SamenessRule[];
  /** One in memory unless given. */
  readonly store?: KeyValueStore;
  /** A failure of the test unless given. */
  readonly onVipFailure?: (failure: unknown) => void;
}

/** The real parts before the push engine, on a clock that stands. */
export async function startMesh({ others = [], sameness = [], store = createMemoryStore(), onVipFailure }: MeshOptions = {}): Promise<Mesh> {
  const clock = createManualClock();
  const config = new SourceCollection<AnyResource>();
  const statics = createStaticRegistry({ config, meshDomain: "mesh.internal" });
  const agents: AgentsRegistry = createAgentsRegistry({
    templates: statics.templates,
    grants: { allowsGroup: () => true, allowsAddress: () => true },
    store,
    clock,
    liveness: LIVENESS_DEFAULTS,
  });
  await agents.load();
  const vipRanges = ["240.240.0.0/16", "2001:2::/48"] as const;
  const catalog = createCatalog({
    registries: [statics, agents, ...others],
    sameness,
    meshDomain: "mesh.internal",
    trustDomain: "mesh.internal",
    vips: await VipAllocator.load({ store, ranges: vipRanges, now: () => clock.now() }),
    onVipFailure: onVipFailure ?? ((failure) => assert.fail(String(failure))),
    clock,
  });
  statics.start();
  agents.start();
  const proxies = followProxyHosts({ hosts: agents.hosts, templates: statics.templates, config, trustDomain: "mesh.internal" });
  const trustBundles = new SourceCollection<string>();
  trustBundles.apply([["mesh.internal", "old root"]]);
  return {
    clock,
    hosts: agents,
    inputs: {
      services: catalog.services,
      awaitingAddress: catalog.awaitingAddress,
      endpoints: catalog.endpoints,
      workloads: catalog.workloads,
      names: catalog.names,
      config,
      hosts: proxies.proxies,
      trustBundles,
      settings: {
        meshDomain: "mesh.internal",
        trustDomain: "mesh.internal",
        roots: [{ namespace: "mesh-system", prefix: "" }],
        defaultMtls: "PERMISSIVE",
        vipRanges,
        unknownDestinations: "allow",
        batchMs: BATCH_MS,
      },
      clock,
    },
    take(one) {
      if ("resource" in one) config.apply([[resourceKey(one.resource), one.do === "write" ? one.resource : undefined]]);
      else if (one.do === "trust") trustBundles.apply([["mesh.internal", one.root]]);
      else if (one.do === "leave") agents.remove(one.host);
      else {
        const { inboundPort = 15_006 } = one.changes ?? {};
        agents.report(one.host, { ...hostReport(one.groups.map((group) => reported(one.host, group, one.isHealthy, one.changes))), inboundPort });
      }
    },
    settled: () => catalog.settled(),
    async close() {
      proxies.close();
      await catalog.close();
      await agents.close();
      await statics.close();
      await store.close();
    },
  };
}

function reported(host: string, group: string, isHealthy: boolean, changes: ReportedChanges = {}): ReturnType<typeof workloadReport> {
  const own = group.slice(group.indexOf("/") + 1);
  const { outboundOffset = 0, httpPort, placeOf = host } = changes;
  return workloadReport({
    name: own,
    group,
    addresses: [`10.0.${HOSTS.indexOf(placeOf)}.${own.length}`],
    ports: httpPort === undefined ? {} : { http: httpPort },
    health: isHealthy ? "healthy" : "unhealthy",
    outboundPort: 15_101 + outboundOffset,
  });
}
