import { create, fromBinary, toBinary } from "@bufbuild/protobuf";

import { contentHash } from "../../base/content-hash.ts";
import { Cluster_DiscoveryType as DiscoveryType, ClusterSchema } from "../../proto/gen/envoy/config/cluster/v3/cluster_pb.js";
import type { FilterChain } from "../../proto/gen/envoy/config/listener/v3/listener_components_pb.js";
import { ListenerSchema } from "../../proto/gen/envoy/config/listener/v3/listener_pb.js";
import type { Listener } from "../../proto/gen/envoy/config/listener/v3/listener_pb.js";
import { createResource } from "../../xds/resource.ts";
import type { Resource } from "../../xds/resource.ts";
import type { ResourceView } from "../../xds/resource-set.ts";
import { TYPE_URLS } from "../../xds/type-urls.ts";

/** Where Envoy hands a workload's inbound connections to: it dials what was dialed. */
export interface InboundPlace {
  readonly workload: string;
  /** Canonical as the control plane writes it; empty where any address of the host is meant. */
  readonly address: string;
  readonly port: number;
}

/** What the inbound listener serves now. */
export function inboundPlaces(resources: ResourceView, inboundPort: number): readonly InboundPlace[] {
  const places = inboundListeners(resources, inboundPort).flatMap(({ listener }) => listener.filterChains.flatMap(placesOf));
  return [...new Map(places.map((place) => [placeKey(place), place])).values()];
}

export function placeKey({ workload, address, port }: InboundPlace): string {
  return `${workload} ${address} ${port}`;
}

/** Stands in the version of a resource from which something is withheld, behind the version that it was made of. */
const WITHHELD = " without ";

/** The version of the control plane behind one that Envoy was told. */
export function ownVersion(version: string): string {
  return version.split(WITHHELD)[0] ?? version;
}

/**
 * What Envoy gets instead of the control plane's resources, so that it serves
 * everything but these places: the inbound listener without their chains, and
 * for a port that is left to nobody a cluster that leads nowhere, for the sake
 * of requests on connections that are open.
 */
export function withholdPlaces(resources: ResourceView, inboundPort: number, withheld: readonly InboundPlace[]): readonly Resource[] {
  if (withheld.length === 0) return [];
  const keys = new Set(withheld.map(placeKey));
  const suffix = `${WITHHELD}${contentHash(Buffer.from([...keys].toSorted().join("\n")))}`;
  const listeners = inboundListeners(resources, inboundPort).map(({ resource, listener }) => {
    const filterChains = listener.filterChains.flatMap((chain) => withoutPlaces(chain, keys));
    return { resource, filterChains, bytes: toBinary(ListenerSchema, { ...listener, filterChains }) };
  });
  const served = new Set(listeners.flatMap(({ filterChains }) => filterChains.map(({ filterChainMatch }) => filterChainMatch?.destinationPort)));
  const unserved = [...new Set(withheld.map(({ port }) => port))].filter((port) => !served.has(port));
  return [
    ...listeners.map(({ resource, bytes }) => createResource(TYPE_URLS.listener, resource.name, bytes, resource.version + suffix)),
    ...unserved.flatMap((port) => {
      const cluster = resources.get(TYPE_URLS.cluster, inboundClusterName(port));
      return cluster === undefined ? [] : [createResource(TYPE_URLS.cluster, cluster.name, nowhere(cluster.name), cluster.version + suffix)];
    }),
  ];
}

/** Istio's name of the application behind a port. */
function inboundClusterName(port: number): string {
  return `inbound|${port}||`;
}

function nowhere(name: string): Uint8Array {
  return toBinary(ClusterSchema, create(ClusterSchema, { name, clusterDiscoveryType: { case: "type", value: DiscoveryType.STATIC } }));
}

function inboundListeners(resources: ResourceView, inboundPort: number): { readonly resource: Resource; readonly listener: Listener }[] {
  return [...resources.list(TYPE_URLS.listener)]
    .map((resource) => ({ resource, listener: fromBinary(ListenerSchema, resource.bytes) }))
    .filter(({ listener }) => {
      const address = listener.address?.address;
      return address?.case === "socketAddress" && address.value.portSpecifier.value === inboundPort;
    });
}

/** A chain has its workload's name and port in its own: `NAME|PORT|KIND`. One that has not is nobody's. */
function placesOf({ name, filterChainMatch }: FilterChain): InboundPlace[] {
  const workload = /^(.+)\|\d+\|[a-z]+$/.exec(name)?.[1];
  const port = filterChainMatch?.destinationPort;
  if (workload === undefined || port === undefined) return [];
  const ranges = filterChainMatch?.prefixRanges ?? [];
  return ranges.length === 0 ? [{ workload, address: "", port }] : ranges.map(({ addressPrefix, prefixLen }) => ({ workload, address: isWhole(addressPrefix, prefixLen) ? addressPrefix : "", port }));
}

function isWhole(address: string, length: number | undefined): boolean {
  return length === (address.includes(":") ? 128 : 32);
}

function withoutPlaces(chain: FilterChain, withheld: ReadonlySet<string>): FilterChain[] {
  const places = placesOf(chain);
  const kept = places.filter((place) => !withheld.has(placeKey(place)));
  if (kept.length === places.length) return [chain];
  const match = chain.filterChainMatch;
  if (kept.length === 0 || match === undefined) return [];
  const prefixRanges = match.prefixRanges.filter((_, index) => !withheld.has(placeKey(places[index] as InboundPlace)));
  return [{ ...chain, filterChainMatch: { ...match, prefixRanges } }];
}
