const envoy = (name: string): string => `type.googleapis.com/envoy.${name}`;
const own = (name: string): string => `type.googleapis.com/ironmesh.agent.v1.${name}`;

/** The resource types that travel by xDS. */
export const TYPE_URLS = {
  cluster: envoy("config.cluster.v3.Cluster"),
  clusterLoadAssignment: envoy("config.endpoint.v3.ClusterLoadAssignment"),
  listener: envoy("config.listener.v3.Listener"),
  filterChain: envoy("config.listener.v3.FilterChain"),
  routeConfiguration: envoy("config.route.v3.RouteConfiguration"),
  scopedRouteConfiguration: envoy("config.route.v3.ScopedRouteConfiguration"),
  virtualHost: envoy("config.route.v3.VirtualHost"),
  secret: envoy("extensions.transport_sockets.tls.v3.Secret"),
  extensionConfig: envoy("config.core.v3.TypedExtensionConfig"),
  runtime: envoy("service.runtime.v3.Runtime"),
  nameRecord: own("NameRecord"),
  hostConfig: own("HostConfig"),
  trustBundle: own("TrustBundle"),
} as const;

/**
 * The order in which new and changed resources are pushed: what is referred to
 * before what refers to it. A load assignment follows its cluster, because
 * Envoy keeps a changed cluster cold until it arrives. Types that are not
 * listed come last.
 */
export const PUSH_ORDER: readonly string[] = [
  TYPE_URLS.trustBundle,
  TYPE_URLS.hostConfig,
  TYPE_URLS.secret,
  TYPE_URLS.cluster,
  TYPE_URLS.clusterLoadAssignment,
  TYPE_URLS.runtime,
  TYPE_URLS.extensionConfig,
  TYPE_URLS.filterChain,
  TYPE_URLS.listener,
  TYPE_URLS.scopedRouteConfiguration,
  TYPE_URLS.routeConfiguration,
  TYPE_URLS.virtualHost,
  TYPE_URLS.nameRecord,
];

/** Where a type stands in `PUSH_ORDER`. */
export function pushRank(typeUrl: string): number {
  const rank = PUSH_ORDER.indexOf(typeUrl);
  return rank === -1 ? PUSH_ORDER.length : rank;
}

const { cluster, clusterLoadAssignment, listener, filterChain, routeConfiguration, scopedRouteConfiguration, virtualHost, secret, extensionConfig } =
  TYPE_URLS;

/**
 * Make before break, first half: a type whose changes wait until what was
 * pushed of these types has been acknowledged. (Envoy holds back the ACK of
 * clusters until they are warm, so that it says "routes may point here now".)
 */
export const WAITS_FOR: Readonly<Record<string, readonly string[]>> = {
  [listener]: [cluster, clusterLoadAssignment],
  [filterChain]: [cluster, clusterLoadAssignment],
  [scopedRouteConfiguration]: [cluster, clusterLoadAssignment],
  [routeConfiguration]: [cluster, clusterLoadAssignment],
  [virtualHost]: [cluster, clusterLoadAssignment],
};

/**
 * Make before break, second half: a type whose deletions wait until nothing of
 * the types that may refer to it is unsent, unacknowledged or rejected. The
 * order of the keys is the order of deletion. Deletions of all other types
 * travel in the same response as the changes, as Envoy wants for listeners (an
 * address moves) and virtual hosts (a domain moves).
 */
export const DELETED_AFTER: Readonly<Record<string, readonly string[]>> = {
  [routeConfiguration]: [listener, filterChain, scopedRouteConfiguration],
  [filterChain]: [listener],
  [extensionConfig]: [listener, filterChain],
  [cluster]: [listener, filterChain, extensionConfig, scopedRouteConfiguration, routeConfiguration, virtualHost],
  [clusterLoadAssignment]: [cluster],
  [secret]: [cluster, listener, filterChain],
};
