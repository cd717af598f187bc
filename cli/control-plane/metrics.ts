import { Gauge, type Registry } from "prom-client";
import type { Catalog } from "../../discovery/catalog/catalog.ts";
import type { AgentsRegistry } from "../../discovery/registry/agents/registry.ts";
import type { AgentPort } from "./agent-port.ts";

interface Observed {
  readonly catalog: Catalog;
  readonly hosts: AgentsRegistry;
  readonly port: AgentPort;
}

/** What the control plane says about the mesh, computed when it is scraped. */
export function addMeshMetrics(registers: Registry, { catalog, hosts, port }: Observed): void {
  const gauge = (name: string, help: string, value: () => number): void => {
    const observed = new Gauge({
      name,
      help,
      registers: [registers],
      collect() {
        observed.set(value());
      },
    });
  };
  gauge("ironmesh_services", "Services of the merged catalog.", () => catalog.services.entries().size);
  gauge("ironmesh_workloads", "Workloads of all registries.", () => catalog.workloads.entries().size);
  gauge("ironmesh_hosts", "Enrolled hosts that reported.", () => hosts.hosts.entries().size);
  gauge("ironmesh_xds_streams", "Open delta ADS streams.", () => port.streams().length);
  gauge(
    "ironmesh_xds_rejected_types",
    "Types of resources of which some proxy rejected the last it was sent.",
    () => port.streams().flatMap(({ types }) => types).filter(({ state }) => state === "REJECTED").length,
  );
}
