import type { Endpoint } from "../../model/endpoint.ts";
import type { EndpointIr } from "./cluster.ts";

/** @param namespace that of the service, for metrics */
export function buildEndpoint(endpoint: Endpoint, namespace: string): EndpointIr {
  return {
    address: endpoint.address,
    ...(endpoint.additionalAddresses === undefined ? {} : { additionalAddresses: endpoint.additionalAddresses }),
    port: endpoint.port,
    weight: endpoint.weight,
    health: endpoint.health,
    locality: endpoint.locality,
    meshed: endpoint.meshed,
    workload: { name: endpoint.workloadName, namespace, version: endpoint.labels["version"] ?? "" },
  };
}
