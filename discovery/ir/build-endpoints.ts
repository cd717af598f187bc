import type { ResourceOf } from "../../api/resource.ts";
import { formatHostPort } from "../../model/address.ts";
import type { Endpoint } from "../../model/endpoint.ts";
import type { Service } from "../../model/service.ts";
import { formatLocality, selects } from "../../model/workload.ts";
import { subsetLabels } from "./build-cluster.ts";
import { buildEndpoint } from "./build-endpoint.ts";
import type { ClusterEndpointsIr } from "./cluster.ts";
import { outboundClusterName } from "./names.ts";

/**
 * The endpoints of every cluster of a service: the fast path, which reads the
 * service, its endpoints and the labels of its subsets, and nothing else.
 */
export function buildEndpoints(
  service: Service,
  endpoints: readonly Endpoint[],
  rule: ResourceOf<"DestinationRule"> | undefined,
): ClusterEndpointsIr[] {
  const subsets = [
    { name: "", labels: {} },
    ...(rule?.spec.subsets ?? []).map((subset) => ({ name: subset.name, labels: subsetLabels(subset) })),
  ];
  return service.ports.flatMap((port) => {
    const ofPort = endpoints.filter((endpoint) => endpoint.servicePort === port.number).sort(byPlace);
    return subsets.map((subset) => ({
      cluster: outboundClusterName(port.number, subset.name, service.hostname),
      endpoints: ofPort
        .filter((endpoint) => selects(subset.labels, endpoint.labels))
        .map((endpoint) => buildEndpoint(endpoint, service.namespace)),
    }));
  });
}

function byPlace(left: Endpoint, right: Endpoint): number {
  const [a, b] = [placeOf(left), placeOf(right)];
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

function placeOf(endpoint: Endpoint): string {
  return `${formatLocality(endpoint.locality)} ${formatHostPort(endpoint.address, endpoint.port)}`;
}
