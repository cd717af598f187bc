import { collectDefaultMetrics, Gauge, Registry } from "prom-client";
import type { Catalog } from "../catalog/catalog.ts";
import type { AgentsRegistry } from "../registry/agents/registry.ts";
import type { StreamStatus } from "../../xds/stream-server.ts";

interface Observed {
  readonly catalog: Catalog;
  readonly hosts: AgentsRegistry;
  readonly streams: () => readonly StreamStatus[];
}

/** What the control plane says about the mesh, computed when it is scraped. */
export function createMeshMetrics({ catalog, hosts, streams }: Observed): Registry {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry, prefix: "ironmesh_" });
  const gauge = (name: string, help: string, value: () => number): void => {
    const observed = new Gauge({
      name,
      help,
      registers: [registry],
      collect() {
        observed.set(value());
      },
    });
  };
  gauge("ironmesh_services", "Services of the merged catalog.", () => catalog.services.entries().size);
  gauge("ironmesh_workloads", "Workloads of all registries.", () => catalog.workloads.entries().size);
  gauge("ironmesh_hosts", "Enrolled hosts that reported.", () => hosts.hosts.entries().size);
  gauge("ironmesh_xds_streams", "Open delta ADS streams.", () => streams().length);
  gauge(
    "ironmesh_xds_rejected_types",
    "Types of resources of which some proxy rejected the last it was sent.",
    () => streams().flatMap(({ types }) => types).filter(({ state }) => state === "REJECTED").length,
  );
  return registry;
}
