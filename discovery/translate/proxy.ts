import { RouteConfigurationSchema } from "../../proto/gen/envoy/config/route/v3/route_pb.js";
import { routeTableName } from "../ir/names.ts";
import type { ProxyIr } from "../ir/proxy.ts";
import { blackHoleCluster, inboundCluster, passthroughCluster } from "./fixed-clusters.ts";
import { type OwnedPort, translateInboundListener } from "./inbound-listener.ts";
import { translateInboundRoute } from "./inbound-route.ts";
import { translateOutboundListener } from "./outbound-listener.ts";
import { sortResources, translated, type TranslatedResource } from "./resource.ts";
import { translateClientValidation } from "./validation.ts";
import { routeTable } from "./virtual-host.ts";

/**
 * All resources that are one host's own: listeners, the clusters that they need
 * besides the services', the frames of the route tables, and the secret that
 * says who may call. The certificates themselves are the agent's.
 */
export function translateProxy(proxy: ProxyIr): TranslatedResource[] {
  const { workloads } = proxy;
  const owned = ownedPorts(proxy);
  const inboundPorts = new Set(owned.map(({ port }) => port.port));
  const tables = new Set(workloads.flatMap(({ outbound }) => outbound.httpPorts));
  return sortResources([
    blackHoleCluster(),
    passthroughCluster(),
    ...[...inboundPorts].map(inboundCluster),
    ...[...tables].map((port) => translated(RouteConfigurationSchema, routeTableName(port), routeTable(routeTableName(port)))),
    ...owned.filter(({ port }) => port.protocol !== "tcp").map(({ workload, port }) => translateInboundRoute(workload, port)),
    ...workloads.map((workload) => translateOutboundListener(workload, proxy)),
    ...(owned.length === 0 ? [] : [translateInboundListener(owned, proxy)]),
    translateClientValidation(proxy.clientValidation),
  ]);
}

/**
 * One owner for each (address, port): of two workloads that claim one, the first
 * by name serves it. That there were two is shown where the IR is built.
 */
function ownedPorts({ workloads }: ProxyIr): OwnedPort[] {
  const taken = new Set<string>();
  const all = workloads.flatMap((workload) => workload.inbound.map((port) => ({ workload, port })));
  return all.filter(({ port }) => {
    const places = (port.addresses.length === 0 ? ["*"] : port.addresses).map((address) => `${address} ${port.port}`);
    if (places.some((place) => taken.has(place))) return false;
    places.forEach((place) => taken.add(place));
    return true;
  });
}
