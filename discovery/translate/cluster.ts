import { create } from "@bufbuild/protobuf";
import type { CircuitBreakers_ThresholdsSchema } from "../../proto/gen/envoy/config/cluster/v3/circuit_breaker_pb.js";
import {
  type Cluster,
  Cluster_DiscoveryType as DiscoveryType,
  Cluster_DnsLookupFamily as DnsLookupFamily,
  Cluster_LbPolicy as LbPolicy,
  ClusterSchema,
} from "../../proto/gen/envoy/config/cluster/v3/cluster_pb.js";
import type { OutlierDetectionSchema } from "../../proto/gen/envoy/config/cluster/v3/outlier_detection_pb.js";
import { HttpProtocolOptionsSchema } from "../../proto/gen/envoy/extensions/upstreams/http/v3/http_protocol_options_pb.js";
import { type ClusterIr, type ConnectionPoolIr, DEFAULT_MIN_HEALTH_PERCENT, type OutlierDetectionIr } from "../ir/cluster.ts";
import { ADS } from "./config-source.ts";
import { DEAD_PEERS } from "./dead-peers.ts";
import { duration, optionalDuration } from "./duration.ts";
import { loadAssignment } from "./endpoints.ts";
import { METADATA_NAMESPACE } from "./metadata.ts";
import { type Init, pack, translated, type TranslatedResource } from "./resource.ts";
import { meshSocketMatches, originateSocket } from "./upstream-tls.ts";

type ClusterInit = Init<typeof ClusterSchema>;
type HttpOptionsInit = Init<typeof HttpProtocolOptionsSchema>;

/** Where Envoy keeps a cluster's HTTP settings. */
export const HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/** Istio's "no limit", in place of Envoy's own 1024 (and 3 retries). */
const UNLIMITED = 4_294_967_295;

const LB_POLICIES = {
  "round-robin": LbPolicy.ROUND_ROBIN,
  "least-request": LbPolicy.LEAST_REQUEST,
  random: LbPolicy.RANDOM,
} as const;

export function translateCluster(ir: ClusterIr): TranslatedResource {
  return translated(ClusterSchema, ir.name, buildCluster(ir));
}

function buildCluster(ir: ClusterIr): Cluster {
  const { service, outlierDetection } = ir;
  const httpOptions = upstreamHttpOptions(ir);
  return create(ClusterSchema, {
    name: ir.name,
    altStatName: statName(ir.name),
    ...discovery(ir),
    ...transport(ir),
    connectTimeout: duration(ir.connectTimeoutMs),
    ...DEAD_PEERS,
    commonLbConfig: { healthyPanicThreshold: { value: outlierDetection?.minHealthPercent ?? DEFAULT_MIN_HEALTH_PERCENT } },
    circuitBreakers: { thresholds: [thresholds(ir.connectionPool)] },
    metadata: {
      filterMetadata: {
        [METADATA_NAMESPACE]: { hostname: service.hostname, namespace: service.namespace, service: service.name },
      },
    },
    ...(outlierDetection === undefined ? {} : { outlierDetection: outliers(outlierDetection) }),
    ...(httpOptions === undefined
      ? {}
      : { typedExtensionProtocolOptions: { [HTTP_OPTIONS]: pack(HttpProtocolOptionsSchema, httpOptions) } }),
  });
}

/** Dots in the name of a cluster end Envoy's Prometheus labels early. A hostname has no underscore. */
export function statName(clusterName: string): string {
  return clusterName.replaceAll(".", "_");
}

/** Limits that Istio means by saying nothing: none. */
export function thresholds(pool: ConnectionPoolIr): Init<typeof CircuitBreakers_ThresholdsSchema> {
  return {
    maxConnections: pool.maxConnections ?? UNLIMITED,
    maxPendingRequests: pool.maxPendingRequests ?? UNLIMITED,
    maxRequests: pool.maxRequests ?? UNLIMITED,
    maxRetries: pool.maxRetries ?? UNLIMITED,
    trackRemaining: true,
  };
}

function discovery(ir: ClusterIr): ClusterInit {
  const lbPolicy = LB_POLICIES[ir.loadBalancer.kind];
  switch (ir.discovery) {
    case "eds":
      return { ...ofType(DiscoveryType.EDS), lbPolicy, edsClusterConfig: { edsConfig: ADS } };
    case "strict-dns":
    case "logical-dns":
      return {
        ...ofType(ir.discovery === "strict-dns" ? DiscoveryType.STRICT_DNS : DiscoveryType.LOGICAL_DNS),
        lbPolicy,
        dnsLookupFamily: DnsLookupFamily.ALL,
        dnsRefreshRate: duration(60_000),
        respectDnsTtl: true,
        loadAssignment: loadAssignment(ir.name, ir.dnsEndpoints),
      };
    case "original-dst":
      return { ...ofType(DiscoveryType.ORIGINAL_DST), lbPolicy: LbPolicy.CLUSTER_PROVIDED };
  }
}

function ofType(value: DiscoveryType): Pick<ClusterInit, "clusterDiscoveryType"> {
  return { clusterDiscoveryType: { case: "type", value } };
}

function transport({ tls }: ClusterIr): ClusterInit {
  switch (tls.mode) {
    case "plain":
      return {};
    case "mesh":
      return { transportSocketMatches: meshSocketMatches(tls) };
    case "originate":
      return { transportSocket: originateSocket(tls) };
  }
}

function upstreamHttpOptions({ protocol, connectionPool }: ClusterIr): HttpOptionsInit | undefined {
  if (protocol === "tcp") return undefined;
  const { idleTimeoutMs, maxRequestsPerConnection } = connectionPool;
  return {
    commonHttpProtocolOptions: {
      ...(idleTimeoutMs === undefined ? {} : { idleTimeout: duration(idleTimeoutMs) }),
      ...(maxRequestsPerConnection === undefined || maxRequestsPerConnection === 0 ? {} : { maxRequestsPerConnection }),
    },
    upstreamProtocolOptions: {
      case: "explicitHttpConfig",
      value: {
        protocolConfig:
          protocol === "http2"
            ? { case: "http2ProtocolOptions", value: {} }
            : { case: "httpProtocolOptions", value: {} },
      },
    },
  };
}

/** An absent count is switched off: Envoy's own default would be 5. */
function outliers(ir: OutlierDetectionIr): Init<typeof OutlierDetectionSchema> {
  const { consecutive5xxErrors = 0, consecutiveGatewayErrors = 0 } = ir;
  return {
    interval: optionalDuration(ir.intervalMs),
    baseEjectionTime: optionalDuration(ir.baseEjectionTimeMs),
    maxEjectionPercent: ir.maxEjectionPercent,
    consecutive5xx: Math.max(1, consecutive5xxErrors),
    enforcingConsecutive5xx: consecutive5xxErrors > 0 ? 100 : 0,
    consecutiveGatewayFailure: Math.max(1, consecutiveGatewayErrors),
    enforcingConsecutiveGatewayFailure: consecutiveGatewayErrors > 0 ? 100 : 0,
    enforcingSuccessRate: 0,
  };
}
