import { create } from "@bufbuild/protobuf";
import { memoized } from "../../base/memoized.ts";
import { WeakValues } from "../../base/weak-values.ts";
import { TrafficDirection } from "../../proto/gen/envoy/config/core/v3/base_pb.js";
import type { ListenerFilterSchema } from "../../proto/gen/envoy/config/listener/v3/listener_components_pb.js";
import { ListenerSchema } from "../../proto/gen/envoy/config/listener/v3/listener_pb.js";
import { FilterStateValue_SharedWithUpstream as SharedWithUpstream } from "../../proto/gen/envoy/extensions/filters/common/set_filter_state/v3/value_pb.js";
import { ConfigSchema as SetFilterStateSchema } from "../../proto/gen/envoy/extensions/filters/listener/set_filter_state/v3/set_filter_state_pb.js";
import type { OutboundShapeIr } from "../ir/outbound.ts";
import type { ProxyIr, ProxyWorkloadIr } from "../ir/proxy.ts";
import { accessLogs, connectionLogs } from "./access-log.ts";
import { duration } from "./duration.ts";
import { httpInspectorFilter, originalDstFilter, SILENT_CLIENT_MS, tlsInspectorFilter } from "./listener-filter.ts";
import { type Init, pack, translated, type TranslatedResource } from "./resource.ts";
import { connectionChains, distinctTcpRoutes, HTTP_CHAINS, httpChains, unknownDestination } from "./outbound-chains.ts";
import { socketAddress } from "./socket-address.ts";

/**
 * Ports of protocols that begin with TLS: there the client always speaks first.
 * They are looked at whether or not a service needs it, because a change of the
 * listener's filters (unlike one of its chains) ends all of its connections.
 */
const TLS_PORTS: readonly number[] = [443, 465, 636, 853, 990, 993, 995, 5061, 5671, 6443, 6514, 8443, 8883, 9093, 9443];

/** The like of HTTP: usual ports of servers of which the client speaks first, looked at whether or not a host outside of the mesh is declared there. */
const HTTP_PORTS: readonly number[] = [80, 3000, 5000, 8000, 8008, 8080, 8081, 8082, 8090, 8888, 9000, 9090, 9200];

export function outboundListenerName(workload: string): string {
  return `outbound|${workload}`;
}

/** All that a listener is made of. */
interface OutboundListenerInputs {
  readonly workload: Pick<ProxyWorkloadIr, "name" | "namespace" | "identity" | "outboundPort">;
  readonly accessLog: ProxyIr["accessLog"];
}

/**
 * Where one workload's captured connections arrive. That it is this listener is
 * what tells the workload: the rules redirect each workload to its own port.
 *
 * It is the same object for equal workloads, of whatever host, of one shape: with
 * many services it is large, and most hosts of a group have the same. That lasts
 * while somebody holds it: name and port are what hosts say, and may be others each time.
 */
export function translateOutboundListener({ name, namespace, identity, outboundPort, outbound }: ProxyWorkloadIr, accessLog: ProxyIr["accessLog"]): TranslatedResource {
  const inputs: OutboundListenerInputs = { workload: { name, namespace, identity, outboundPort }, accessLog };
  const known = listenersOf(outbound);
  const key = JSON.stringify(inputs);
  let found = known.get(key);
  if (found === undefined) known.set(key, (found = listener(inputs, outbound)));
  return found;
}

const listenersOf = memoized((_shape: OutboundShapeIr) => new WeakValues<TranslatedResource>());

function listener({ workload: { name: workload, namespace, identity, outboundPort }, accessLog }: OutboundListenerInputs, shape: OutboundShapeIr): TranslatedResource {
  const name = outboundListenerName(workload);
  const origin = { direction: "outbound", workload: `${namespace}/${workload}` } as const;
  const sniPorts = distinctTcpRoutes(shape).filter(({ serverNames }) => serverNames.length > 0).map(({ port }) => port);
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
        identityFilter(identity),
        tlsInspectorFilter({ only: [...TLS_PORTS, ...sniPorts] }),
        httpInspectorFilter({ only: [...HTTP_PORTS, ...shape.outsideHttpPorts] }),
      ],
      listenerFiltersTimeout: duration(SILENT_CLIENT_MS),
      continueOnListenerFiltersTimeout: true,
      filterChains: [...httpChains(shape, accessLogs(accessLog, origin)), ...connectionChains(shape)],
      defaultFilterChain: unknownDestination(shape),
      accessLog: connectionLogs(accessLog, origin, HTTP_CHAINS),
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
