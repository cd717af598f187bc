import { collectDefaultMetrics, Registry } from "prom-client";
import type { Clock } from "../../base/clock.ts";
import type { Catalog } from "../catalog/catalog.ts";
import type { AgentsRegistry } from "../registry/agents/registry.ts";
import type { Registry as ServiceRegistry } from "../registry/registry.ts";
import type { StreamStatus } from "../../xds/stream-server.ts";
import { type MetricFamily, registerFamily, type Sample } from "./metric-family.ts";
import { observeRegistries, REGISTRY_FAMILIES } from "./registry-metrics.ts";

interface Observed {
  readonly catalog: Pick<Catalog, "services" | "workloads" | "endpoints" | "findings" | "waiting">;
  readonly hosts: Pick<AgentsRegistry, "hosts">;
  /** Those that are there when it is asked. */
  readonly registries: readonly Pick<ServiceRegistry, "status">[];
  readonly streams: () => readonly StreamStatus[];
  readonly clock: Clock;
}

/** What there is in all. */
export const MESH_FAMILIES: readonly MetricFamily<Observed>[] = [
  total("ironmesh_services", "Services of the merged catalog.", ({ catalog }) => catalog.services.entries().size),
  total("ironmesh_workloads", "Workloads of all registries that selectors may select.", ({ catalog }) => catalog.workloads.entries().size),
  total("ironmesh_hosts", "Enrolled hosts that reported.", ({ hosts }) => hosts.hosts.entries().size),
  total("ironmesh_xds_streams", "Open delta ADS streams.", ({ streams }) => streams().length),
  total(
    "ironmesh_xds_rejected_types",
    "Types of resources of which some proxy rejected the last it was sent.",
    ({ streams }) => streams().flatMap(({ types }) => types).filter(({ state }) => state === "REJECTED").length,
  ),
];

/** What the control plane says about the mesh, computed when it is scraped. */
export function createMeshMetrics(observed: Observed): Registry {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry, prefix: "ironmesh_" });
  // Of thousands of streams each look takes its time.
  const looked = { ...observed, streams: oncePerTurn(observed.streams) };
  for (const family of MESH_FAMILIES) registerFamily(registry, family, () => looked);
  const registries = oncePerTurn(() => observeRegistries(observed));
  for (const family of REGISTRY_FAMILIES) registerFamily(registry, family, registries);
  return registry;
}

function total(name: string, help: string, value: (observed: Observed) => number): MetricFamily<Observed> {
  return { name, help, type: "gauge", labels: [], samples: (observed): Sample[] => [[{}, value(observed)]] };
}

/** All families of one scrape are of one look, which walks through every endpoint, or stream: prom-client asks them in one turn. */
function oncePerTurn<T>(look: () => T): () => T {
  let seen: { readonly value: T } | undefined;
  return () => {
    if (seen === undefined) {
      seen = { value: look() };
      queueMicrotask(() => (seen = undefined));
    }
    return seen.value;
  };
}
