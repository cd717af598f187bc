import { create } from "@bufbuild/protobuf";
import { formatLocality } from "../../model/workload.ts";
import { HealthStatus } from "../../proto/gen/envoy/config/core/v3/health_check_pb.js";
import type { LbEndpointSchema, LocalityLbEndpointsSchema } from "../../proto/gen/envoy/config/endpoint/v3/endpoint_components_pb.js";
import { type ClusterLoadAssignment, ClusterLoadAssignmentSchema } from "../../proto/gen/envoy/config/endpoint/v3/endpoint_pb.js";
import type { ClusterEndpointsIr, EndpointIr } from "../ir/cluster.ts";
import { MESH_TLS_MATCH, METADATA_NAMESPACE, TRANSPORT_SOCKET_MATCH } from "./metadata.ts";
import { type Init, translated, type TranslatedResource } from "./resource.ts";
import { socketAddress } from "./socket-address.ts";

const HEALTH = {
  healthy: HealthStatus.HEALTHY,
  unhealthy: HealthStatus.UNHEALTHY,
  draining: HealthStatus.DRAINING,
  unknown: HealthStatus.UNKNOWN,
} as const;

/** The endpoints of one EDS cluster: the resource that changes most. */
export function translateEndpoints(ir: ClusterEndpointsIr): TranslatedResource {
  return translated(ClusterLoadAssignmentSchema, ir.cluster, loadAssignment(ir.cluster, ir.endpoints));
}

/** Grouped by locality, in the order in which the localities come. */
export function loadAssignment(cluster: string, endpoints: readonly EndpointIr[]): ClusterLoadAssignment {
  const groups = Map.groupBy(endpoints, (endpoint) => formatLocality(endpoint.locality));
  return create(ClusterLoadAssignmentSchema, {
    clusterName: cluster,
    endpoints: [...groups.values()].map(localityEndpoints),
  });
}

function localityEndpoints(endpoints: readonly EndpointIr[]): Init<typeof LocalityLbEndpointsSchema> {
  const locality = endpoints[0]?.locality;
  return {
    ...(locality === undefined ? {} : { locality: { ...locality } }),
    lbEndpoints: endpoints.map(lbEndpoint),
  };
}

function lbEndpoint(endpoint: EndpointIr): Init<typeof LbEndpointSchema> {
  const { name, namespace, version } = endpoint.workload;
  return {
    hostIdentifier: {
      case: "endpoint",
      value: {
        address: socketAddress(endpoint.address, endpoint.port),
        additionalAddresses: (endpoint.additionalAddresses ?? []).map((address) => ({ address: socketAddress(address, endpoint.port) })),
      },
    },
    healthStatus: HEALTH[endpoint.health],
    // Envoy refuses a weight of 0; an endpoint that shall get nothing is not sent.
    loadBalancingWeight: Math.max(1, endpoint.weight),
    metadata: {
      filterMetadata: {
        ...(endpoint.meshed ? { [TRANSPORT_SOCKET_MATCH]: { ...MESH_TLS_MATCH } } : {}),
        [METADATA_NAMESPACE]: { namespace, version, workload: name },
      },
    },
  };
}
