import { durationMs } from "../../api/duration.ts";
import type { ResourceOf, Specs } from "../../api/resource.ts";
import { isHttp, type Protocol, type ServicePort } from "../../model/port.ts";
import type { Endpoint } from "../../model/endpoint.ts";
import type { Service } from "../../model/service.ts";
import { selects } from "../../model/workload.ts";
import { buildEndpoint } from "./build-endpoint.ts";
import { type ClusterIr, type ConnectionPoolIr, DEFAULT_MIN_HEALTH_PERCENT, type LoadBalancerIr, type OutlierDetectionIr, type UpstreamProtocol, type UpstreamTlsIr } from "./cluster.ts";
import { outboundClusterName, outboundSni, validationSecretName } from "./names.ts";

type Subset = NonNullable<Specs["DestinationRule"]["subsets"]>[number];
type IstioPolicy = NonNullable<Specs["DestinationRule"]["trafficPolicy"]>;

/**
 * What this file reads of a traffic policy, at a port or above. Istio's schema
 * types a load balancer as a union of so many shapes, separately at each place,
 * that the compiler takes a minute to compare two of them: name only the field.
 */
type PortPolicy = Pick<IstioPolicy, "connectionPool" | "outlierDetection" | "tls"> & {
  readonly loadBalancer?: { readonly simple?: string };
};
type TrafficPolicy = PortPolicy & {
  readonly portLevelSettings?: readonly (PortPolicy & { readonly port?: { readonly number?: number } })[];
};

const DEFAULT_CONNECT_TIMEOUT_MS = 10_000;
/** 0 stands for it too, as in Istio. */
const DEFAULT_MAX_EJECTION_PERCENT = 10;

/** The whole port's cluster and one for each subset of the DestinationRule. */
export function buildClusters(
  service: Service,
  port: ServicePort,
  rule: ResourceOf<"DestinationRule"> | undefined,
  dnsEndpoints: readonly Endpoint[],
): ClusterIr[] {
  const general = rule?.spec.trafficPolicy;
  const whole = buildCluster(service, port, general, undefined, dnsEndpoints);
  const subsets = (rule?.spec.subsets ?? []).map((subset) => buildCluster(service, port, general, subset, dnsEndpoints));
  return [whole, ...subsets];
}

/** Labels that an endpoint needs to be in a subset. */
export function subsetLabels(subset: Subset): Readonly<Record<string, string>> {
  return subset.labels ?? {};
}

function buildCluster(
  service: Service,
  port: ServicePort,
  general: TrafficPolicy | undefined,
  subset: Subset | undefined,
  dnsEndpoints: readonly Endpoint[],
): ClusterIr {
  const policy = mergePolicies(general, subset?.trafficPolicy, port.number);
  const subsetName = subset?.name ?? "";
  const outlierDetection = buildOutlierDetection(policy.outlierDetection);
  return {
    name: outboundClusterName(port.number, subsetName, service.hostname),
    discovery: discoveryOf(service),
    dnsEndpoints: dnsEndpoints
      .filter((endpoint) => endpoint.servicePort === port.number)
      .filter((endpoint) => subset === undefined || selects(subsetLabels(subset), endpoint.labels))
      .map((endpoint) => buildEndpoint(endpoint, service.namespace)),
    protocol: upstreamProtocol(port.protocol, policy),
    tls: buildTls(service, port, subsetName, policy.tls),
    connectTimeoutMs: optionalMs(policy.connectionPool?.tcp?.connectTimeout) ?? DEFAULT_CONNECT_TIMEOUT_MS,
    loadBalancer: buildLoadBalancer(policy.loadBalancer),
    connectionPool: buildConnectionPool(policy.connectionPool),
    ...(outlierDetection === undefined ? {} : { outlierDetection }),
    service: { hostname: service.hostname, namespace: service.namespace, name: service.name },
  };
}

/**
 * Istio's precedence: a subset's settings replace the rule's, group by group;
 * where a port has settings of its own, they replace all groups and what they
 * leave out takes its default.
 */
function mergePolicies(general: TrafficPolicy | undefined, subset: TrafficPolicy | undefined, port: number): PortPolicy {
  let merged = applyPolicy({}, general, port);
  merged = applyPolicy(merged, subset, port);
  return merged;
}

function applyPolicy(base: PortPolicy, policy: TrafficPolicy | undefined, port: number): PortPolicy {
  if (policy === undefined) return base;
  const portLevel = policy.portLevelSettings?.find((settings) => settings.port?.number === port);
  if (portLevel !== undefined) return portLevel;
  return {
    ...base,
    ...(policy.connectionPool === undefined ? {} : { connectionPool: policy.connectionPool }),
    ...(policy.loadBalancer === undefined ? {} : { loadBalancer: policy.loadBalancer }),
    ...(policy.outlierDetection === undefined ? {} : { outlierDetection: policy.outlierDetection }),
    ...(policy.tls === undefined ? {} : { tls: policy.tls }),
  };
}

function discoveryOf(service: Service): ClusterIr["discovery"] {
  if (service.resolution === "dns") return "strict-dns";
  return service.resolution === "passthrough" ? "original-dst" : "eds";
}

function upstreamProtocol(protocol: Protocol, policy: PortPolicy): UpstreamProtocol {
  if (!isHttp(protocol)) return "tcp";
  const upgrade = policy.connectionPool?.http?.h2UpgradePolicy === "UPGRADE";
  return protocol === "HTTP" && !upgrade ? "http1" : "http2";
}

function buildTls(service: Service, port: ServicePort, subset: string, tls: PortPolicy["tls"]): UpstreamTlsIr {
  switch (tls?.mode) {
    case "DISABLE":
      return { mode: "plain" };
    case "SIMPLE":
      return {
        mode: "originate",
        sni: tls.sni ?? service.hostname,
        subjectAltNames: tls.subjectAltNames ?? [],
        ...(tls.caCertificates === undefined ? {} : { caFile: tls.caCertificates }),
        insecureSkipVerify: tls.insecureSkipVerify ?? false,
      };
    default:
      if (service.external) return { mode: "plain" };
      return {
        mode: "mesh",
        validationSecret: validationSecretName(service.hostname),
        sni: outboundSni(port.number, subset, service.hostname),
      };
  }
}

function buildLoadBalancer(settings: PortPolicy["loadBalancer"]): LoadBalancerIr {
  switch (settings?.simple) {
    case "ROUND_ROBIN":
      return { kind: "round-robin" };
    case "RANDOM":
      return { kind: "random" };
    default:
      return { kind: "least-request" };
  }
}

function buildConnectionPool(pool: PortPolicy["connectionPool"]): ConnectionPoolIr {
  const { tcp, http } = pool ?? {};
  return {
    ...limit("maxConnections", tcp?.maxConnections),
    ...limit("maxPendingRequests", http?.http1MaxPendingRequests),
    ...limit("maxRequests", http?.http2MaxRequests),
    ...limit("maxRetries", http?.maxRetries),
    ...limit("maxRequestsPerConnection", http?.maxRequestsPerConnection),
    ...(http?.idleTimeout === undefined ? {} : { idleTimeoutMs: durationMs(http.idleTimeout) }),
  };
}

/** 0 stands for the default, as in Istio; Envoy would take it to refuse everything. */
function limit<K extends keyof ConnectionPoolIr>(key: K, value: number | undefined): { readonly [key in K]?: number } {
  return value === undefined || value === 0 ? {} : ({ [key]: value } as { readonly [key in K]: number });
}

/** Istio's defaults for what an outlierDetection block leaves out, but for `minHealthPercent`. */
function buildOutlierDetection(settings: PortPolicy["outlierDetection"]): OutlierDetectionIr | undefined {
  if (settings === undefined) return undefined;
  const gateway = settings.consecutiveGatewayErrors;
  const consecutive5xx = settings.consecutive5xxErrors ?? (gateway === undefined ? 5 : undefined);
  return {
    ...(consecutive5xx === undefined ? {} : { consecutive5xxErrors: consecutive5xx }),
    ...(gateway === undefined ? {} : { consecutiveGatewayErrors: gateway }),
    intervalMs: optionalMs(settings.interval) ?? 10_000,
    baseEjectionTimeMs: optionalMs(settings.baseEjectionTime) ?? 30_000,
    maxEjectionPercent: settings.maxEjectionPercent || DEFAULT_MAX_EJECTION_PERCENT,
    minHealthPercent: settings.minHealthPercent ?? DEFAULT_MIN_HEALTH_PERCENT,
  };
}

function optionalMs(text: string | undefined): number | undefined {
  return text === undefined ? undefined : durationMs(text);
}
