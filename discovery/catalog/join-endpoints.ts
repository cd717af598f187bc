import type { Endpoint } from "../../model/endpoint.ts";
import type { ServicePort } from "../../model/port.ts";
import type { Workload } from "../../model/workload.ts";
import type { RegistryService } from "../registry/registry.ts";

/** Endpoints of a service, and what a person should know about those that it does not have. */
export interface JoinedEndpoints {
  /** By service port, address and port. */
  readonly endpoints: readonly Endpoint[];
  /** Why workloads that match get no traffic. Sorted. */
  readonly notes: readonly string[];
}

/**
 * What the given workloads answer of a service's ports.
 *
 * Two workloads at one (network, address, port) are one endpoint: a meshed one
 * before others, then the first by key. A service that is served by the mesh excludes plain endpoints, so that
 * nobody who can write to a registry can turn its mutual TLS off.
 *
 * @param hasGroup a WorkloadGroup serves it, so that it is the mesh's even while no instance of that is there
 */
export function joinEndpoints(service: RegistryService, workloads: readonly Workload[], hasGroup: boolean, trustDomain: string): JoinedEndpoints {
  const notes: string[] = [];
  const byPlace = new Map<string, Endpoint>();
  const isMeshed = hasGroup || workloads.some((workload) => workload.meshed);
  // Of two at one place a meshed one is the one that may be believed.
  for (const workload of workloads.toSorted((left, right) => Number(right.meshed) - Number(left.meshed) || (left.key < right.key ? -1 : 1))) {
    if (isMeshed && !workload.meshed && !service.allowsPlaintext) {
      notes.push(`${workload.source.registry} ${workload.source.object}: a plain endpoint of a service in the mesh gets no traffic`);
      continue;
    }
    for (const port of service.ports) {
      const endpoint = endpointOf(workload, port, trustDomain);
      if (endpoint === undefined) {
        notes.push(`${workload.source.registry} ${workload.source.object}: has no port ${String(port.targetPort ?? port.number)}`);
        continue;
      }
      const place = `${port.number} ${endpoint.network} ${endpoint.address} ${endpoint.port}`;
      if (!byPlace.has(place)) byPlace.set(place, endpoint);
    }
  }
  const endpoints = [...byPlace].sort(([left], [right]) => (left < right ? -1 : 1)).map(([, endpoint]) => endpoint);
  return { endpoints, notes: [...new Set(notes)].sort() };
}

/** Undefined where the workload has no address, or no port of the wanted name. */
function endpointOf(workload: Workload, port: ServicePort, trustDomain: string): Endpoint | undefined {
  const [address, ...additionalAddresses] = workload.addresses;
  // As in Istio, a port that the workload names goes before the number that the service thinks it has.
  const number =
    typeof port.targetPort === "string" ? workload.ports[port.targetPort] : (workload.ports[port.name] ?? port.targetPort ?? port.number);
  if (address === undefined || number === undefined) return undefined;
  return {
    servicePort: port.number,
    address,
    ...(additionalAddresses.length === 0 ? {} : { additionalAddresses }),
    port: number,
    workload: workload.key,
    workloadName: workload.name,
    labels: workload.labels,
    locality: workload.locality,
    network: workload.network,
    weight: workload.weight,
    health: workload.health,
    meshed: workload.meshed,
    ...(workload.meshed ? { identity: `spiffe://${trustDomain}/ns/${workload.namespace}/sa/${workload.serviceAccount}` } : {}),
    source: workload.source,
  };
}
