/**
 * The plain-data form between what users write and what Envoy is told, for
 * clusters and their endpoints. Names in it are final: what refers to a cluster
 * uses `ClusterIr.name`.
 */

/** How Envoy speaks to the endpoints of a cluster. */
export type UpstreamProtocol = "http1" | "http2" | "tcp";

/** One cluster: a service port, or one subset of it. */
export interface ClusterIr {
  /** `outbound|8080|v1|reviews.default.svc.mesh.internal`; the subset is empty for the whole port. */
  readonly name: string;
  readonly discovery: "eds" | "strict-dns" | "logical-dns" | "original-dst";
  /** Endpoints of a DNS cluster, which travel inside it; empty otherwise. */
  readonly dnsEndpoints: readonly EndpointIr[];
  readonly protocol: UpstreamProtocol;
  readonly tls: UpstreamTlsIr;
  readonly connectTimeoutMs: number;
  readonly loadBalancer: LoadBalancerIr;
  readonly connectionPool: ConnectionPoolIr;
  readonly outlierDetection?: OutlierDetectionIr;
  /** For access logs and metrics: the service's hostname, namespace and name. */
  readonly service: { readonly hostname: string; readonly namespace: string; readonly name: string };
}

export type UpstreamTlsIr =
  /** Never TLS. */
  | { readonly mode: "plain" }
  /**
   * Mutual TLS to endpoints that are meshed, plain to the others (decided per
   * endpoint). The peer must carry an identity that `validationSecret` accepts;
   * a service none of whose endpoints is meshed has none and is never TLS.
   */
  | { readonly mode: "mesh"; readonly validationSecret: string; readonly sni: string }
  /** TLS to a server outside of the mesh, verified against the system's roots or `caFile`. */
  | {
      readonly mode: "originate";
      readonly sni: string;
      readonly subjectAltNames: readonly string[];
      readonly caFile?: string;
      readonly insecureSkipVerify: boolean;
    };

export type LoadBalancerIr =
  | { readonly kind: "round-robin" }
  | { readonly kind: "least-request" }
  | { readonly kind: "random" };

/** Limits; an absent one is Envoy's maximum (no limit), as in Istio. */
export interface ConnectionPoolIr {
  readonly maxConnections?: number;
  readonly maxPendingRequests?: number;
  readonly maxRequests?: number;
  readonly maxRetries?: number;
  readonly maxRequestsPerConnection?: number;
  readonly idleTimeoutMs?: number;
}

/**
 * Below this share of healthy endpoints all of them are tried. Istio's default
 * is 0, never; here, when nobody is known to be well, trying beats refusing:
 * what is known may be wrong.
 */
export const DEFAULT_MIN_HEALTH_PERCENT = 1;

export interface OutlierDetectionIr {
  readonly consecutive5xxErrors?: number;
  readonly consecutiveGatewayErrors?: number;
  readonly intervalMs: number;
  readonly baseEjectionTimeMs: number;
  readonly maxEjectionPercent: number;
  readonly minHealthPercent: number;
}

/** The endpoints of one EDS cluster. */
export interface ClusterEndpointsIr {
  readonly cluster: string;
  /** Sorted by locality, then address and port. */
  readonly endpoints: readonly EndpointIr[];
}

export interface EndpointIr {
  readonly address: string;
  /** Tried in turn with the first, as Happy Eyeballs does (RFC 8305). Absent: none. */
  readonly additionalAddresses?: readonly string[];
  readonly port: number;
  readonly weight: number;
  /** `draining` takes no new requests; `unhealthy` ones are only used in a panic. */
  readonly health: "healthy" | "unhealthy" | "draining" | "unknown";
  readonly locality: { readonly region: string; readonly zone: string; readonly subZone: string };
  /** Speaks mutual TLS. */
  readonly meshed: boolean;
  /** For metrics: who answers there. */
  readonly workload: { readonly name: string; readonly namespace: string; readonly version: string };
}

/** Which peers may answer for a service; travels as an SDS validation context. */
export interface ValidationIr {
  /** The secret's name: `validation|<hostname>`. */
  readonly name: string;
  /** SPIFFE IDs, sorted; empty accepts nobody (fails closed). */
  readonly identities: readonly string[];
  /** One bundle per trust domain; PEM. */
  readonly trustBundles: Readonly<Record<string, string>>;
}

/** Which peers may call: workloads (`/ns/…`) of the trust domains that have a bundle here. */
export interface ClientValidationIr {
  /** The secret's name: `validation|clients`. */
  readonly name: string;
  /** One bundle per trust domain; PEM; never empty. */
  readonly trustBundles: Readonly<Record<string, string>>;
}
