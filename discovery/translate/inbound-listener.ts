import { create } from "@bufbuild/protobuf";
import { TrafficDirection } from "../../proto/gen/envoy/config/core/v3/base_pb.js";
import type { FilterChainSchema } from "../../proto/gen/envoy/config/listener/v3/listener_components_pb.js";
import { ListenerSchema } from "../../proto/gen/envoy/config/listener/v3/listener_pb.js";
import { RBACSchema } from "../../proto/gen/envoy/extensions/filters/network/rbac/v3/rbac_pb.js";
import { UpstreamConnectMode } from "../../proto/gen/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.js";
import type { HostIr, HostWorkloadIr, InboundPortIr } from "../ir/proxy.ts";
import { accessLogs } from "./access-log.ts";
import { downstreamTls } from "./downstream-tls.ts";
import { duration } from "./duration.ts";
import { BLACK_HOLE_CLUSTER, inboundClusterName } from "./fixed-clusters.ts";
import { inboundHttp } from "./http-connection-manager.ts";
import { inboundTableName } from "./inbound-route.ts";
import { originalDstFilter, SILENT_CLIENT_MS, tlsInspectorFilter } from "./listener-filter.ts";
import { allowRules, denyRules } from "./rbac.ts";
import { type Init, pack, translated, type TranslatedResource } from "./resource.ts";
import { cidrRange, socketAddress } from "./socket-address.ts";
import { tcpAdmission } from "./tcp-admission.ts";
import { type NetworkFilterInit, tcpProxy, type TcpProxyInit, toCluster } from "./tcp-proxy.ts";

type FilterChainInit = Init<typeof FilterChainSchema>;
type AccessLogs = ReturnType<typeof accessLogs>;

export const INBOUND_LISTENER = "virtualInbound";

/** Who takes longer for a handshake holds a connection and means nothing by it. */
const HANDSHAKE_MS = 10_000;

/** A captured port and whose it is. */
export interface OwnedPort {
  readonly workload: HostWorkloadIr;
  readonly port: InboundPortIr;
}

/**
 * Where captured connections to all workloads of the host arrive. A connection
 * that no chain wants (plain to a STRICT port, a port that nobody declared, the
 * listener's own port dialed from outside) is closed.
 *
 * Only filter chains differ between hosts and times, as far as possible: Envoy
 * then replaces just those, and the connections of all others live on.
 */
export function translateInboundListener(ports: readonly OwnedPort[], proxy: HostIr): TranslatedResource {
  const plainPorts = ports.filter(({ port }) => port.mtls === "DISABLE").map(({ port }) => port.port);
  const nobody = accessLogs(proxy.accessLog, { direction: "inbound", workload: "" });
  return translated(
    ListenerSchema,
    INBOUND_LISTENER,
    create(ListenerSchema, {
      name: INBOUND_LISTENER,
      trafficDirection: TrafficDirection.INBOUND,
      address: socketAddress("0.0.0.0", proxy.inboundPort),
      additionalAddresses: [{ address: socketAddress("::", proxy.inboundPort) }],
      listenerFilters: [originalDstFilter(), tlsInspectorFilter({ allBut: plainPorts })],
      listenerFiltersTimeout: duration(SILENT_CLIENT_MS),
      continueOnListenerFiltersTimeout: true,
      filterChains: ports.flatMap((owned) => chainsOf(owned, proxy)),
      defaultFilterChain: {
        name: "refused",
        filters: [tcpProxy({ statPrefix: "refused", ...toCluster(BLACK_HOLE_CLUSTER), accessLog: nobody })],
      },
    }),
  );
}

function chainsOf({ workload, port }: OwnedPort, proxy: HostIr): FilterChainInit[] {
  const name = `${workload.name}|${port.port}`;
  const accessLog = accessLogs(proxy.accessLog, {
    direction: "inbound",
    workload: `${workload.namespace}/${workload.name}`,
  });
  const place = { destinationPort: port.port, prefixRanges: port.addresses.map(cidrRange) };
  const tls: FilterChainInit = {
    name: `${name}|mtls`,
    filterChainMatch: { ...place, transportProtocol: "tls" },
    transportSocketConnectTimeout: duration(HANDSHAKE_MS),
    transportSocket: downstreamTls(workload.identity, proxy.clientValidation.name),
    filters: filtersOf(workload, port, true, accessLog),
  };
  const plain: FilterChainInit = {
    name: `${name}|plain`,
    filterChainMatch: { ...place, ...(port.mtls === "DISABLE" ? {} : { transportProtocol: "raw_buffer" }) },
    filters: filtersOf(workload, port, false, accessLog),
  };
  switch (port.mtls) {
    case "STRICT":
      return [tls];
    case "PERMISSIVE":
      return [tls, plain];
    case "DISABLE":
      return [plain];
  }
}

function filtersOf(workload: HostWorkloadIr, port: InboundPortIr, authenticated: boolean, accessLog: AccessLogs): NetworkFilterInit[] {
  if (port.protocol !== "tcp") return [inboundHttp(port, inboundTableName(workload, port), authenticated, accessLog)];
  return [
    ...tcpAdmission(port, authenticated),
    ...networkRbac(port),
    tcpProxy({
      statPrefix: `inbound_${port.port}_tcp`,
      ...toCluster(inboundClusterName(port.port)),
      accessLog,
      ...(authenticated ? AFTER_HANDSHAKE : {}),
    }),
  ];
}

/** Else a peer that never authenticates already opens a connection to the application. */
const AFTER_HANDSHAKE: TcpProxyInit = {
  upstreamConnectMode: UpstreamConnectMode.ON_DOWNSTREAM_TLS_HANDSHAKE,
  maxEarlyDataBytes: 0,
};

function networkRbac({ port, authorization }: InboundPortIr): NetworkFilterInit[] {
  const stages = [
    ["deny", denyRules(authorization, "tcp")],
    ["allow", allowRules(authorization, "tcp")],
  ] as const;
  return stages.flatMap(([stage, rules]) =>
    rules === undefined
      ? []
      : [
          {
            name: `envoy.filters.network.rbac.${stage}`,
            configType: {
              case: "typedConfig" as const,
              value: pack(RBACSchema, { statPrefix: `inbound_${port}_tcp`, rules }),
            },
          },
        ],
  );
}
