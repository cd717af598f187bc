import { fewNames } from "../../base/few-names.ts";
import { canonicalAddress, familyOf, formatHostPort } from "../../model/address.ts";
import type { Endpoint } from "../../model/endpoint.ts";
import type { ServicePort } from "../../model/port.ts";
import type { Resolution } from "../../model/service.ts";
import { type Health, portNamed, type Workload } from "../../model/workload.ts";
import type { JoinedPort } from "./join-services.ts";
import { wordFor } from "./join-services.ts";

/** What one member of a service brings to its endpoints. */
export interface ServedMember {
  /** How endpoints of the service are found. */
  readonly way: Resolution;
  readonly ports: readonly JoinedPort[];
  readonly workloads: readonly Workload[];
  /** A WorkloadGroup serves it, so that it is the mesh's even while no instance of that is there. */
  readonly hasGroup: boolean;
  /** Endpoints without an identity may serve beside meshed ones. */
  readonly allowsPlaintext: boolean;
  /** Why none of its endpoints serves, in words that are a note of the service. */
  readonly reason?: string | undefined;
}

/** What became of one instance at one port of a service. */
export interface EndpointVerdict {
  readonly workload: Workload;
  readonly servicePort: number;
  /** Absent where it is none. */
  readonly endpoint?: Endpoint;
  /** Why it is none. */
  readonly reason?: string;
}

/** Endpoints of a service, and what a person should know about those that it does not have. */
export interface JoinedEndpoints {
  /** By service port, address and port. */
  readonly endpoints: readonly Endpoint[];
  /** Why workloads that match get no traffic. Sorted. */
  readonly notes: readonly string[];
}

/** The endpoints among the verdicts. */
export function joinEndpoints(members: readonly ServedMember[], trustDomain: string): JoinedEndpoints {
  const verdicts = judgeEndpoints(members, trustDomain);
  const placed = verdicts.flatMap(({ endpoint }) => (endpoint === undefined ? [] : [[placesOf(endpoint).join(), endpoint] as const]));
  const isSaidElsewhere = (reason: string): boolean => reason.startsWith(SAME_PLACE) || members.some((member) => member.reason === reason);
  const refused = verdicts.flatMap(({ workload, reason, endpoint }) => (endpoint !== undefined || reason === undefined || isSaidElsewhere(reason) ? [] : [[reason, wordFor(workload.source)] as const]));
  return {
    endpoints: placed.sort(([left], [right]) => (left < right ? -1 : 1)).map(([, endpoint]) => endpoint),
    notes: [
      ...[...Map.groupBy(refused, ([reason]) => reason)].flatMap(([reason, all]) => fewNames(all.map(([, word]) => word)).map((who) => `${who}: ${reason}`)),
      ...inSeveralNetworks(placed.map(([, endpoint]) => endpoint)),
    ].sort(),
  };
}

/** Instances that are two in the catalog and one for whoever dials: which one, the networks decide. */
function inSeveralNetworks(endpoints: readonly Endpoint[]): string[] {
  if (new Set(endpoints.map(({ network }) => network)).size < 2) return [];
  const byPlace = Map.groupBy(endpoints, ({ servicePort, address, port }) => `${servicePort} ${formatHostPort(address, port)}`);
  const shared = [...byPlace.values()].filter((all) => new Set(all.map(({ network }) => network)).size > 1);
  const [first] = shared[0] ?? [];
  if (first === undefined) return [];
  const places = new Set(shared.flatMap((all) => all.map(({ address, port }) => formatHostPort(address, port))));
  const networks = [...new Set(shared.flatMap((all) => all.map(({ network }) => network)))].sort().map((network) => (network === "" ? "the mesh's own" : network));
  const more = places.size === 1 ? "is" : `and ${places.size - 1} more are`;
  return [`${formatHostPort(first.address, first.port)} ${more} told of several networks (${networks.join(", ")}): from a host an address leads to one place`];
}

const SAME_PLACE = "it is at the same place as ";

/**
 * Decides about every instance at every port.
 *
 * Two instances at one (network, any address, port) are one endpoint: a meshed one
 * goes before others, then by the order of members, then, of plain ones, one that
 * serves before one that does not, which may be what a machine that is gone left in
 * its registry, then the first by key. What another registry says of the health at that place counts
 * too, by the first of its instances there, and the worst holds. A service that is served by the mesh excludes plain endpoints, so that
 * nobody who can write to a registry can turn its mutual TLS off.
 *
 * @param members in order of precedence
 */
export function judgeEndpoints(members: readonly ServedMember[], trustDomain: string): EndpointVerdict[] {
  const isMeshed = members.some(({ hasGroup, workloads }) => hasGroup || workloads.some((workload) => workload.meshed));
  const verdicts: EndpointVerdict[] = [];
  /** Where the endpoint of each place is among the verdicts. */
  const byPlace = new Map<string, number>();
  /** Which registries have said how an endpoint is. */
  const heard = new Set<string>();
  for (const [member, workload] of inOrder(members)) {
    const isExcluded = isMeshed && !workload.meshed && !member.allowsPlaintext;
    for (const [servicePort, port] of member.ports) {
      const endpoint = endpointOf(workload, servicePort, port, trustDomain);
      const refuse = (reason: string): void => void verdicts.push({ workload, servicePort, reason });
      if (isExcluded) refuse("a plain endpoint of a service in the mesh gets no traffic");
      else if (endpoint === undefined) refuse(`has no port ${String(port.targetPort === undefined || port.targetPort === "" ? port.number : port.targetPort)}`);
      else if (member.reason !== undefined) refuse(member.reason);
      // Envoy refuses all endpoints of a service for one such.
      else if (member.way === "static" && nameAmong(workload) !== undefined) refuse(`its address ${nameAmong(workload)} is a name, and endpoints of the service are found by address: write an IP address, or a ServiceEntry with resolution DNS`);
      else {
        const places = placesOf(endpoint);
        const at = places.map((place) => byPlace.get(place)).find((known) => known !== undefined);
        const holder = at === undefined ? undefined : verdicts[at];
        if (at === undefined || holder?.endpoint === undefined) {
          const added = verdicts.push({ workload, servicePort, endpoint }) - 1;
          heard.add(`${added} ${workload.source.registry}`);
          for (const place of places) byPlace.set(place, added);
        } else {
          refuse(`${SAME_PLACE}${wordFor(holder.workload.source)}, which counts`);
          const word = `${at} ${workload.source.registry}`;
          if (heard.has(word)) continue;
          heard.add(word);
          verdicts[at] = { ...holder, endpoint: { ...holder.endpoint, health: worse(holder.endpoint.health, endpoint.health) } };
        }
      }
    }
  }
  return verdicts;
}

function nameAmong({ addresses }: Workload): string | undefined {
  return addresses.find((address) => familyOf(address) === undefined);
}

/** Of two at one place the first may be believed. */
function inOrder(members: readonly ServedMember[]): [ServedMember, Workload][] {
  const all = members.flatMap((member, index) => member.workloads.map((workload) => ({ member, index, workload })));
  return all
    .sort((left, right) => Number(right.workload.meshed) - Number(left.workload.meshed) || left.index - right.index || rankOf(left.workload) - rankOf(right.workload) || (left.workload.key < right.workload.key ? -1 : 1))
    .map(({ member, workload }) => [member, workload]);
}

/** Of meshed ones the host serves the first by name, whichever is well (`inbound-places.ts`): it answers under that one's identity. */
function rankOf({ meshed, health }: Workload): number {
  return meshed ? 0 : BEST_FIRST.indexOf(health);
}

/** One for each of its addresses, the first one's first. */
function placesOf({ servicePort, network, address, additionalAddresses = [], port }: Endpoint): string[] {
  return [address, ...additionalAddresses].map((one) => `${servicePort} ${network} ${canonicalAddress(one)} ${port}`);
}

const BEST_FIRST: readonly Health[] = ["healthy", "unknown", "draining", "unhealthy"];
const WORST_FIRST: readonly Health[] = ["unhealthy", "draining", "healthy", "unknown"];

/** Who does not know says nothing. */
function worse(left: Health, right: Health): Health {
  return WORST_FIRST.indexOf(left) < WORST_FIRST.indexOf(right) ? left : right;
}

/** Undefined where the workload has no address, or no port of the wanted name. */
function endpointOf(workload: Workload, servicePort: number, port: ServicePort, trustDomain: string): Endpoint | undefined {
  const [address, ...additionalAddresses] = workload.addresses;
  // As in Istio, a port that the workload names goes before the number that the service thinks it has.
  const number =
    typeof port.targetPort === "string" ? portNamed(workload, port.targetPort) : (portNamed(workload, port.name) ?? port.targetPort ?? port.number);
  if (address === undefined || number === undefined) return undefined;
  return {
    servicePort,
    address,
    ...(additionalAddresses.length === 0 ? {} : { additionalAddresses }),
    port: number,
    workload: workload.key,
    workloadName: workload.name,
    labels: workload.labels,
    locality: workload.locality,
    ...(workload.zoneHints === undefined ? {} : { zoneHints: workload.zoneHints }),
    ...(workload.nodeHints === undefined ? {} : { nodeHints: workload.nodeHints }),
    network: workload.network,
    weight: workload.weight,
    health: workload.health,
    meshed: workload.meshed,
    ...(workload.meshed ? { identity: `spiffe://${trustDomain}/ns/${workload.namespace}/sa/${workload.serviceAccount}` } : {}),
    source: workload.source,
  };
}
