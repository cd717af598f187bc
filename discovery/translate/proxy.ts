import { memoized } from "../../base/memoized.ts";
import { RouteConfigurationSchema } from "../../proto/gen/envoy/config/route/v3/route_pb.js";
import type { OutboundShapeIr } from "../ir/outbound.ts";
import type { HostIr, ProxyIr } from "../ir/proxy.ts";
import { blackHoleCluster, inboundCluster, passthroughCluster } from "./fixed-clusters.ts";
import { type OwnedPort, translateInboundListener } from "./inbound-listener.ts";
import { translateInboundRoute } from "./inbound-route.ts";
import { translateOutboundListener } from "./outbound-listener.ts";
import { sortResources, translated, type TranslatedResource } from "./resource.ts";
import { translateClientValidation } from "./validation.ts";
import { meshTable, outsideTable } from "./virtual-host.ts";

/**
 * All resources of one proxy besides the services': listeners, the clusters that
 * they need, the frames of the route tables, and the secret that says who may
 * call. The certificates themselves are the agent's.
 */
export function translateProxy(proxy: ProxyIr): TranslatedResource[] {
  return sortResources([...translateOutbound(proxy), ...translateInbound(proxy)]);
}

/** How the workloads reach others: what changes with the mesh's services. */
export function translateOutbound({ workloads, accessLog }: Pick<ProxyIr, "workloads" | "accessLog">): TranslatedResource[] {
  const shapes = [...new Set(workloads.map(({ outbound }) => outbound))];
  const shared = new Map(shapes.flatMap(resourcesOfShape).map((resource) => [`${resource.typeUrl} ${resource.name}`, resource]));
  return [...shared.values(), ...workloads.map((workload) => translateOutboundListener(workload, accessLog))];
}

/** How the workloads are reached: what changes with the host. */
export function translateInbound(host: HostIr): TranslatedResource[] {
  const owned = ownedPorts(host);
  const ports = new Set(owned.map(({ port }) => port.port));
  return [
    ...[...ports].map(inboundCluster),
    ...owned.filter(({ port }) => port.protocol !== "tcp").map(({ workload, port }) => translateInboundRoute(workload, port)),
    ...(owned.length === 0 ? [] : [translateInboundListener(owned, host)]),
    translateClientValidation(host.clientValidation),
  ];
}

/** What outbound listeners of a shape refer to besides the services' resources: where nothing leads, and the frames of the route tables. */
const resourcesOfShape: (shape: OutboundShapeIr) => readonly TranslatedResource[] = memoized(({ httpPorts, outsideHttpPorts, unknownDestinations }) => {
  const tables = [...httpPorts.map(meshTable), ...outsideHttpPorts.map((port) => outsideTable(port, unknownDestinations))];
  return [blackHoleCluster(), passthroughCluster(), ...tables.map((table) => translated(RouteConfigurationSchema, table.name, table))];
});

/**
 * One owner for each (address, port): of two workloads that claim one, the first
 * by name serves it. That there were two is shown where the IR is built.
 */
function ownedPorts({ workloads }: HostIr): OwnedPort[] {
  const taken = new Set<string>();
  const all = workloads.flatMap((workload) => workload.inbound.map((port) => ({ workload, port })));
  return all.filter(({ port }) => {
    const places = (port.addresses.length === 0 ? ["*"] : port.addresses).map((address) => `${address} ${port.port}`);
    if (places.some((place) => taken.has(place))) return false;
    places.forEach((place) => taken.add(place));
    return true;
  });
}
