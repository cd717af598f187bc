import { type RouteConfiguration, RouteConfigurationSchema } from "../../proto/gen/envoy/config/route/v3/route_pb.js";
import type { ProxyIr } from "../ir/proxy.ts";
import { blackHoleCluster, inboundCluster, passthroughCluster } from "./fixed-clusters.ts";
import { type OwnedPort, translateInboundListener } from "./inbound-listener.ts";
import { translateInboundRoute } from "./inbound-route.ts";
import { translateOutboundListener } from "./outbound-listener.ts";
import { sortResources, translated, type TranslatedResource } from "./resource.ts";
import { translateClientValidation } from "./validation.ts";
import { meshTable, outsideTable } from "./virtual-host.ts";

/**
 * All resources that are one host's own: listeners, the clusters that they need
 * besides the services', the frames of the route tables, and the secret that
 * says who may call. The certificates themselves are the agent's.
 */
export function translateProxy(proxy: ProxyIr): TranslatedResource[] {
  const { workloads } = proxy;
  const owned = ownedPorts(proxy);
  const inboundPorts = new Set(owned.map(({ port }) => port.port));
  return sortResources([
    blackHoleCluster(),
    passthroughCluster(),
    ...[...inboundPorts].map(inboundCluster),
    ...routeTables(proxy).map((table) => translated(RouteConfigurationSchema, table.name, table)),
    ...owned.filter(({ port }) => port.protocol !== "tcp").map(({ workload, port }) => translateInboundRoute(workload, port)),
    ...workloads.map((workload) => translateOutboundListener(workload, proxy)),
    ...(owned.length === 0 ? [] : [translateInboundListener(owned, proxy)]),
    translateClientValidation(proxy.clientValidation),
  ]);
}

/** The frames of the route tables that the outbound listeners refer to, each once. */
function routeTables({ workloads }: ProxyIr): RouteConfiguration[] {
  const tables = workloads.flatMap(({ outbound }) => [
    ...outbound.httpPorts.map(meshTable),
    ...outbound.outsideHttpPorts.map((port) => outsideTable(port, outbound.unknownDestinations)),
  ]);
  return [...new Map(tables.map((table) => [table.name, table])).values()];
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
