import { create } from "@bufbuild/protobuf";
import { type FilterChain, FilterChainSchema } from "../../proto/gen/envoy/config/listener/v3/listener_components_pb.js";
import { memoized } from "../../base/memoized.ts";
import { outsideTableName, routeTableName } from "../ir/names.ts";
import type { OutboundShapeIr, TcpRouteIr } from "../ir/outbound.ts";
import type { accessLogs } from "./access-log.ts";
import { duration } from "./duration.ts";
import { BLACK_HOLE_CLUSTER, PASSTHROUGH_CLUSTER } from "./fixed-clusters.ts";
import { outboundHttp } from "./http-connection-manager.ts";
import type { Init } from "./resource.ts";
import { cidrRange, LOOPBACK_RANGES } from "./socket-address.ts";
import { tcpProxy, toCluster, toClusters } from "./tcp-proxy.ts";

type FilterChainInit = Init<typeof FilterChainSchema>;
type AccessLogs = ReturnType<typeof accessLogs>;

/** Beginnings of the names of the chains that write a line for each request, and none for the connection. */
export const HTTP_CHAINS: readonly string[] = ["http|", "outside-http|"];

/** What HTTP inspectors call HTTP. */
const HTTP_APPLICATIONS: readonly string[] = ["http/1.0", "http/1.1", "h2c"];

/** HTTP of one workload: the log says whose requests these are. */
export function httpChains({ httpPorts, outsideHttpPorts, vipRanges }: OutboundShapeIr, accessLog: AccessLogs): FilterChainInit[] {
  return [
    ...(vipRanges.length === 0 ? [] : httpPorts.map((port) => meshHttpChain(port, vipRanges, accessLog))),
    ...outsideHttpPorts.map((port) => outsideHttpChain(port, accessLog)),
  ];
}

/**
 * Everything else, which is the same for all workloads of the shape: it is made
 * once for all of them.
 *
 * Envoy looks for the port first, then for the longest prefix within it, and
 * never returns to chains without a port. So each port has its own chains for
 * what is left over of the virtual ranges and of loopback.
 */
export const connectionChains: (shape: OutboundShapeIr) => readonly FilterChain[] = memoized((shape) => {
  const tcpByPort = Map.groupBy(distinctTcpRoutes(shape), ({ port }) => port);
  const ports = [...new Set([...shape.httpPorts, ...shape.outsideHttpPorts, ...tcpByPort.keys()])].sort((left, right) => left - right);
  const ofPorts = ports.flatMap((port) => {
    const routes = tcpByPort.get(port) ?? [];
    return [
      ...(shape.httpPorts.includes(port) ? [] : refusedVips(port, shape.vipRanges)),
      ...directDials(port),
      ...routes.map(tcpChain),
      ...withoutServerName(port, routes),
    ];
  });
  return [...ofPorts, ...refusedVips(undefined, shape.vipRanges), ...directDials(undefined)].map((init) => create(FilterChainSchema, init));
});

/** What becomes of a destination that the mesh does not know. */
export function unknownDestination({ unknownDestinations }: OutboundShapeIr): FilterChainInit {
  const cluster = unknownDestinations === "allow" ? PASSTHROUGH_CLUSTER : BLACK_HOLE_CLUSTER;
  return { name: "unknown-destination", filters: [tcpProxy({ statPrefix: "unknown_destination", ...toCluster(cluster) })] };
}

/**
 * Two chains with one match would make Envoy refuse the whole listener. The
 * first by name has the match; that there were two is shown where the IR is built.
 */
export const distinctTcpRoutes: (shape: OutboundShapeIr) => readonly TcpRouteIr[] = memoized(({ tcpRoutes }) => {
  const taken = new Set<string>();
  return tcpRoutes.filter((route) => {
    const places = matchesOf(route);
    if (places.some((place) => taken.has(place))) return false;
    places.forEach((place) => taken.add(place));
    return true;
  });
});

/** Addresses outside of the virtual ranges are not the mesh's, unless somebody declared a host there. */
function meshHttpChain(port: number, vipRanges: readonly string[], accessLog: AccessLogs): FilterChainInit {
  return {
    name: `http|${port}`,
    filterChainMatch: { destinationPort: port, prefixRanges: vipRanges.map(cidrRange) },
    filters: [outboundHttp({ statPrefix: `outbound_${port}`, table: routeTableName(port), normalizesPaths: true }, accessLog)],
  };
}

/** By the Host header to the hosts that were declared on the port; what is not HTTP is not for it. */
function outsideHttpChain(port: number, accessLog: AccessLogs): FilterChainInit {
  return {
    name: `outside-http|${port}`,
    filterChainMatch: { destinationPort: port, applicationProtocols: [...HTTP_APPLICATIONS] },
    // A path that a stranger's server gets is left as it is written: it may be signed.
    filters: [outboundHttp({ statPrefix: `outside_${port}`, table: outsideTableName(port), normalizesPaths: false }, accessLog)],
  };
}

function tcpChain({ name, port, addresses, serverNames, clusters, idleTimeoutMs }: TcpRouteIr): FilterChainInit {
  return {
    name,
    filterChainMatch: { destinationPort: port, prefixRanges: addresses.map(cidrRange), serverNames: [...serverNames] },
    filters: [tcpProxy({ statPrefix: `outbound_${port}_tcp`, ...toClusters(clusters), ...(idleTimeoutMs === undefined ? {} : { idleTimeout: duration(idleTimeoutMs) }) })],
  };
}

/** A virtual address that is served by SNI alone has nothing for a connection without a known one. */
function withoutServerName(port: number, routes: readonly TcpRouteIr[]): FilterChainInit[] {
  const bySni = routes.filter(({ serverNames }) => serverNames.length > 0).flatMap(({ addresses }) => addresses);
  const whole = new Set(routes.filter(({ serverNames }) => serverNames.length === 0).flatMap(({ addresses }) => addresses));
  const left = [...new Set(bySni)].filter((address) => !whole.has(address)).sort();
  return left.length === 0 ? [] : [refusal(`unknown-server-name|${port}`, port, left)];
}

/** A virtual address leads nowhere by itself: what no service owns is closed, never passed through. */
function refusedVips(port: number | undefined, ranges: readonly string[]): FilterChainInit[] {
  return ranges.length === 0 ? [] : [refusal(`unknown-address|${port ?? "*"}`, port, ranges)];
}

/** A connection to loopback was not redirected here but dialed: it would borrow the workload's identity. */
function directDials(port: number | undefined): FilterChainInit[] {
  return [refusal(`dialed|${port ?? "*"}`, port, LOOPBACK_RANGES)];
}

function refusal(name: string, destinationPort: number | undefined, ranges: readonly string[]): FilterChainInit {
  return {
    name,
    filterChainMatch: { destinationPort, prefixRanges: ranges.map(cidrRange) },
    filters: [tcpProxy({ statPrefix: "refused", ...toCluster(BLACK_HOLE_CLUSTER) })],
  };
}

function matchesOf({ port, addresses, serverNames }: TcpRouteIr): string[] {
  const names = serverNames.length === 0 ? [""] : serverNames;
  return (addresses.length === 0 ? [""] : addresses).flatMap((address) => names.map((name) => `${port} ${address} ${name}`));
}
