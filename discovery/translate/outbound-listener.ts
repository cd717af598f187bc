import { create } from "@bufbuild/protobuf";
import { TrafficDirection } from "../../proto/gen/envoy/config/core/v3/base_pb.js";
import type {
  FilterChainSchema,
  ListenerFilterSchema,
} from "../../proto/gen/envoy/config/listener/v3/listener_components_pb.js";
import { ListenerSchema } from "../../proto/gen/envoy/config/listener/v3/listener_pb.js";
import { FilterStateValue_SharedWithUpstream as SharedWithUpstream } from "../../proto/gen/envoy/extensions/filters/common/set_filter_state/v3/value_pb.js";
import { ConfigSchema as SetFilterStateSchema } from "../../proto/gen/envoy/extensions/filters/listener/set_filter_state/v3/set_filter_state_pb.js";
import { outsideTableName, routeTableName } from "../ir/names.ts";
import type { OutboundShapeIr, TcpRouteIr } from "../ir/outbound.ts";
import type { ProxyIr, ProxyWorkloadIr } from "../ir/proxy.ts";
import { accessLogs } from "./access-log.ts";
import { duration } from "./duration.ts";
import { BLACK_HOLE_CLUSTER, PASSTHROUGH_CLUSTER } from "./fixed-clusters.ts";
import { outboundHttp } from "./http-connection-manager.ts";
import { httpInspectorFilter, originalDstFilter, SILENT_CLIENT_MS, tlsInspectorFilter } from "./listener-filter.ts";
import { type Init, pack, translated, type TranslatedResource } from "./resource.ts";
import { cidrRange, LOOPBACK_RANGES, socketAddress } from "./socket-address.ts";
import { tcpProxy, toCluster, toClusters } from "./tcp-proxy.ts";

type FilterChainInit = Init<typeof FilterChainSchema>;
type AccessLogs = ReturnType<typeof accessLogs>;

/**
 * Ports of protocols that begin with TLS: there the client always speaks first.
 * They are looked at whether or not a service needs it, because a change of the
 * listener's filters (unlike one of its chains) ends all of its connections.
 */
const TLS_PORTS: readonly number[] = [443, 465, 636, 853, 990, 993, 995, 5061, 5671, 6443, 6514, 8443, 8883, 9093, 9443];

/** The like of HTTP: usual ports of servers of which the client speaks first, looked at whether or not a host outside of the mesh is declared there. */
const HTTP_PORTS: readonly number[] = [80, 3000, 5000, 8000, 8008, 8080, 8081, 8082, 8090, 8888, 9000, 9090, 9200];

/** What the HTTP inspector calls HTTP. */
const HTTP_APPLICATIONS: readonly string[] = ["http/1.0", "http/1.1", "h2c"];

export function outboundListenerName(workload: string): string {
  return `outbound|${workload}`;
}

/**
 * Where one workload's captured connections arrive. That it is this listener is
 * what tells the workload: the rules redirect each workload to its own port.
 */
export function translateOutboundListener(workload: ProxyWorkloadIr, proxy: ProxyIr): TranslatedResource {
  const name = outboundListenerName(workload.name);
  const accessLog = accessLogs(proxy.accessLog, {
    direction: "outbound",
    workload: `${workload.namespace}/${workload.name}`,
  });
  const { outbound, outboundPort } = workload;
  const tcpRoutes = withoutDuplicates(outbound.tcpRoutes);
  const sniPorts = tcpRoutes.filter(({ serverNames }) => serverNames.length > 0).map(({ port }) => port);
  return translated(
    ListenerSchema,
    name,
    create(ListenerSchema, {
      name,
      trafficDirection: TrafficDirection.OUTBOUND,
      // Strangers must not use up what the host's own connections need; they cannot reach it.
      ignoreGlobalConnLimit: true,
      // Loopback only: nobody from outside can speak under this workload's name.
      address: socketAddress("127.0.0.1", outboundPort),
      additionalAddresses: [{ address: socketAddress("::1", outboundPort) }],
      listenerFilters: [
        originalDstFilter(),
        identityFilter(workload.identity),
        tlsInspectorFilter({ only: [...TLS_PORTS, ...sniPorts] }),
        httpInspectorFilter({ only: [...HTTP_PORTS, ...outbound.outsideHttpPorts] }),
      ],
      listenerFiltersTimeout: duration(SILENT_CLIENT_MS),
      continueOnListenerFiltersTimeout: true,
      filterChains: chainsOf(outbound, tcpRoutes, accessLog),
      defaultFilterChain: unknownDestination(outbound, accessLog),
    }),
  );
}

/**
 * Puts the name of the workload's secret where the clusters' certificate
 * selector reads it. `envoy.hashable_string` makes it part of the connection
 * pool's key; with `envoy.string` a pooled connection of one workload silently
 * carries the requests of another.
 */
function identityFilter(identity: string): Init<typeof ListenerFilterSchema> {
  return {
    name: "envoy.filters.listener.set_filter_state",
    configType: {
      case: "typedConfig",
      value: pack(SetFilterStateSchema, {
        onAccept: [
          {
            key: { case: "objectKey", value: "envoy.tls.certificate_mappers.on_demand_secret" },
            factoryKey: "envoy.hashable_string",
            value: {
              case: "formatString",
              value: { format: { case: "textFormatSource", value: { specifier: { case: "inlineString", value: identity } } } },
            },
            sharedWithUpstream: SharedWithUpstream.ONCE,
          },
        ],
      }),
    },
  };
}

/**
 * Envoy looks for the port first, then for the longest prefix within it, and
 * never returns to chains without a port. So each port has its own chains for
 * what is left over of the virtual ranges and of loopback.
 */
function chainsOf(shape: OutboundShapeIr, tcpRoutes: readonly TcpRouteIr[], accessLog: AccessLogs): FilterChainInit[] {
  const tcpByPort = Map.groupBy(tcpRoutes, ({ port }) => port);
  const ports = [...new Set([...shape.httpPorts, ...shape.outsideHttpPorts, ...tcpByPort.keys()])].sort((left, right) => left - right);
  const ofPorts = ports.flatMap((port) => [
    ...(shape.httpPorts.includes(port) ? httpChain(port, shape.vipRanges, accessLog) : refusedVips(port, shape.vipRanges, accessLog)),
    ...directDials(port, accessLog),
    ...(shape.outsideHttpPorts.includes(port) ? [outsideHttpChain(port, accessLog)] : []),
    ...(tcpByPort.get(port) ?? []).map((route) => tcpChain(route, accessLog)),
    ...withoutServerName(port, tcpByPort.get(port) ?? [], accessLog),
  ]);
  return [...ofPorts, ...refusedVips(undefined, shape.vipRanges, accessLog), ...directDials(undefined, accessLog)];
}

/** Addresses outside of the virtual ranges are not the mesh's, unless somebody declared a host there. */
function httpChain(port: number, vipRanges: readonly string[], accessLog: AccessLogs): FilterChainInit[] {
  if (vipRanges.length === 0) return [];
  return [
    {
      name: `http|${port}`,
      filterChainMatch: { destinationPort: port, prefixRanges: vipRanges.map(cidrRange) },
      filters: [outboundHttp({ statPrefix: `outbound_${port}`, table: routeTableName(port), normalizesPaths: true }, accessLog)],
    },
  ];
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

function tcpChain(route: TcpRouteIr, accessLog: AccessLogs): FilterChainInit {
  return {
    name: route.name,
    filterChainMatch: {
      destinationPort: route.port,
      prefixRanges: route.addresses.map(cidrRange),
      serverNames: [...route.serverNames],
    },
    filters: [
      tcpProxy({
        statPrefix: `outbound_${route.port}_tcp`,
        ...toClusters(route.clusters),
        accessLog,
        ...(route.idleTimeoutMs === undefined ? {} : { idleTimeout: duration(route.idleTimeoutMs) }),
      }),
    ],
  };
}

/** A virtual address that is served by SNI alone has nothing for a connection without a known one. */
function withoutServerName(port: number, routes: readonly TcpRouteIr[], accessLog: AccessLogs): FilterChainInit[] {
  const bySni = routes.filter(({ serverNames }) => serverNames.length > 0).flatMap(({ addresses }) => addresses);
  const whole = new Set(routes.filter(({ serverNames }) => serverNames.length === 0).flatMap(({ addresses }) => addresses));
  const left = [...new Set(bySni)].filter((address) => !whole.has(address)).sort();
  return left.length === 0 ? [] : [refusal(`unknown-server-name|${port}`, port, left, accessLog)];
}

/** A virtual address leads nowhere by itself: what no service owns is closed, never passed through. */
function refusedVips(port: number | undefined, ranges: readonly string[], accessLog: AccessLogs): FilterChainInit[] {
  return ranges.length === 0 ? [] : [refusal(`unknown-address|${port ?? "*"}`, port, ranges, accessLog)];
}

/** A connection to loopback was not redirected here but dialed: it would borrow the workload's identity. */
function directDials(port: number | undefined, accessLog: AccessLogs): FilterChainInit[] {
  return [refusal(`dialed|${port ?? "*"}`, port, LOOPBACK_RANGES, accessLog)];
}

function refusal(name: string, destinationPort: number | undefined, ranges: readonly string[], accessLog: AccessLogs): FilterChainInit {
  return {
    name,
    filterChainMatch: { destinationPort, prefixRanges: ranges.map(cidrRange) },
    filters: [tcpProxy({ statPrefix: "refused", ...toCluster(BLACK_HOLE_CLUSTER), accessLog })],
  };
}

function unknownDestination({ unknownDestinations }: OutboundShapeIr, accessLog: AccessLogs): FilterChainInit {
  const cluster = unknownDestinations === "allow" ? PASSTHROUGH_CLUSTER : BLACK_HOLE_CLUSTER;
  return {
    name: "unknown-destination",
    filters: [tcpProxy({ statPrefix: "unknown_destination", ...toCluster(cluster), accessLog })],
  };
}

/**
 * Two chains with one match would make Envoy refuse the whole listener. The
 * first by name has the match; that there were two is shown where the IR is built.
 */
function withoutDuplicates(routes: readonly TcpRouteIr[]): TcpRouteIr[] {
  const taken = new Set<string>();
  return routes.filter((route) => {
    const places = matchesOf(route);
    if (places.some((place) => taken.has(place))) return false;
    places.forEach((place) => taken.add(place));
    return true;
  });
}

function matchesOf({ port, addresses, serverNames }: TcpRouteIr): string[] {
  const names = serverNames.length === 0 ? [""] : serverNames;
  return (addresses.length === 0 ? [""] : addresses).flatMap((address) => names.map((name) => `${port} ${address} ${name}`));
}
