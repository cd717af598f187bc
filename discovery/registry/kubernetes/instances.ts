import { familyOf, isOwnToEachHost } from "../../../model/address.ts";
import { NO_LOCALITY } from "../../../model/workload.ts";
import type { Health, Locality, Workload } from "../../../model/workload.ts";
import type { EndpointSlice, Node, Pod, SliceEndpoint } from "./objects.ts";
import { byHealth, type Found, groupByInstance, oneAtEachPlace } from "./places.ts";

/** How one registry reads endpoints. */
export interface InstanceSettings {
  readonly registry: string;
  readonly network: string;
  /** Where nodes do not say where they are. */
  readonly locality: Locality;
  /** What becomes of pods that are in an Istio mesh, whose authority ours does not trust, and that may take mutual TLS only. */
  readonly istioPods: "plaintext" | "exclude";
}

/** What endpoints refer to. */
export interface Surroundings {
  readonly podByUid: (uid: string) => Pod | undefined;
  readonly nodeByName: (name: string) => Node | undefined;
}

export const ISTIO_NOTES: Readonly<Record<InstanceSettings["istioPods"], string>> = {
  plaintext: "pods of it are in an Istio mesh: they are called in plaintext, which mode STRICT there refuses",
  exclude: "pods of it are in an Istio mesh: they get no traffic, as the registry's istioPods says",
};

/**
 * The instances behind a service, sorted by key. A pod is one instance, also
 * where it is in several slices: they are made per address family and set of
 * ports, and while they change an endpoint may be in two.
 *
 * @param slices of one service
 * @param firstFamily whose addresses go first
 */
export function buildInstances(
  slices: readonly EndpointSlice[],
  firstFamily: string,
  namespace: string,
  { podByUid, nodeByName }: Surroundings,
  settings: InstanceSettings,
  notes: Set<string>,
): Workload[] {
  const found: Found[] = [];
  /** Addresses of pods that get no traffic, whoever else tells of them. */
  const excluded = new Set<string>();
  const sorted = slices.toSorted((left, right) => (left.name < right.name ? -1 : 1));
  for (const slice of sorted) {
    const object = `${slice.namespace}/${slice.name}`;
    if (slice.addressType !== "IPv4" && slice.addressType !== "IPv6") {
      notes.add(`slice ${object} has addresses of type ${slice.addressType}: it gets no traffic`);
      continue;
    }
    for (const endpoint of slice.endpoints) {
      // Of several addresses nobody has said what the others mean.
      const [address = ""] = endpoint.addresses;
      if (familyOf(address) === undefined || isOwnToEachHost(address)) {
        notes.add(`slice ${object} has the address ${JSON.stringify(address)}, which is no place that hosts can share: it gets no traffic`);
        continue;
      }
      if (!endpoint.hints.areUnderstood) notes.add(`slice ${object} has hints that name no zones or nodes, or more of them than Kubernetes allows: these are not read`);
      const claimed = podNamed(endpoint, slice, podByUid);
      const isPods = claimed !== undefined && claimed.addresses.includes(address);
      if (claimed !== undefined && !isPods) notes.add(`slice ${object} gives ${address} to the pod ${claimed.name}, which does not have it: it is not taken for that pod`);
      if (!isPods && uidOf(endpoint, slice) !== "" && settings.istioPods === "exclude") {
        notes.add("pods of it are not known: they get no traffic while they may be in an Istio mesh, as the registry's istioPods says");
        continue;
      }
      if (isPods && claimed.isInIstio) {
        notes.add(ISTIO_NOTES[settings.istioPods]);
        if (settings.istioPods === "exclude") excluded.add(address);
      }
      const uid = claimed === undefined || isPods ? uidOf(endpoint, slice) : "";
      found.push({ slice, endpoint, address, uid, pod: isPods ? claimed : undefined, health: healthOf(endpoint) });
    }
  }
  const groups = groupByInstance(oneAtEachPlace(found.filter(({ address }) => !excluded.has(address))), settings.registry);
  const instances = [...groups].sort(([left], [right]) => (left < right ? -1 : 1)).map(([key, group]) => buildInstance(key, group, firstFamily, namespace, nodeByName, settings));
  for (const [hinted, what] of [
    [instances.filter(({ zoneHints }) => zoneHints !== undefined).length, "zones, which callers in the mesh do not keep to yet"],
    [instances.filter(({ nodeHints }) => nodeHints !== undefined).length, "nodes, which no caller in the mesh is on"],
  ] as const) {
    if (hinted > 0) notes.add(`${hinted} of its ${instances.length} endpoints ${hinted === 1 ? "is" : "are"} hinted for ${what}`);
  }
  return instances;
}

function buildInstance(key: string, group: readonly Found[], firstFamily: string, namespace: string, nodeByName: Surroundings["nodeByName"], settings: InstanceSettings): Workload {
  // Of two slices that say different things one is about to change: the better news is believed, as kube-proxy does.
  const [best, ...others] = group.toSorted(byHealth) as [Found, ...Found[]];
  const all = [best, ...others];
  const byFamily = Map.groupBy(all, ({ slice }) => slice.addressType);
  const families = [...byFamily.keys()].sort((left, right) => Number(right === firstFamily) - Number(left === firstFamily) || (left < right ? -1 : 1));
  const ports = new Map<string, number>();
  for (const { slice } of all) {
    for (const { name, port, protocol } of slice.ports) {
      if (protocol === "TCP" && port !== null && port !== undefined && !ports.has(name)) ports.set(name, port);
    }
  }
  const { pod, endpoint, slice, health } = best;
  const name = pod?.name ?? endpoint.targetRef?.name ?? "";
  const detail = detailOf(endpoint);
  const zoneHints = [...new Set(all.flatMap((found) => found.endpoint.hints.zones))].sort();
  const nodeHints = [...new Set(all.flatMap((found) => found.endpoint.hints.nodes))].sort();
  return {
    key,
    namespace,
    name: name === "" ? best.address : name,
    addresses: families.flatMap((family) => byFamily.get(family)?.[0]?.address ?? []),
    ports: Object.fromEntries([...ports].sort(([left], [right]) => (left < right ? -1 : 1))),
    labels: pod?.labels ?? {},
    serviceAccount: pod?.serviceAccount ?? "",
    locality: localityOf(endpoint, nodeByName, settings.locality),
    ...(zoneHints.length === 0 ? {} : { zoneHints }),
    ...(nodeHints.length === 0 ? {} : { nodeHints }),
    network: settings.network,
    weight: 1,
    health,
    ...(detail === "" ? {} : { healthDetail: detail }),
    // Nothing of ours is in front of it.
    meshed: false,
    source: { registry: settings.registry, object: name === "" ? `${slice.namespace}/${slice.name}` : `${slice.namespace}/${name}` },
  };
}

/**
 * What is terminating is ready only where its service publishes it whatever its pod says.
 * Source: kubernetes.io/docs/concepts/services-networking/endpoint-slices/#conditions
 */
function healthOf({ conditions }: SliceEndpoint): Health {
  const isReady = conditions.ready ?? true;
  const isServing = conditions.serving ?? isReady;
  if (conditions.terminating === true && conditions.ready !== true) return isServing ? "draining" : "unhealthy";
  return isReady ? "healthy" : "unhealthy";
}

function detailOf(endpoint: SliceEndpoint): string {
  if (healthOf(endpoint) === "healthy") return "";
  return endpoint.conditions.terminating === true ? "terminating" : "not ready";
}

/** Whoever may write slices could name any pod: it has to be one of the slice's own namespace. */
function uidOf({ targetRef }: SliceEndpoint, slice: EndpointSlice): string {
  if (targetRef === null || targetRef === undefined || targetRef.kind !== "Pod") return "";
  return targetRef.namespace === slice.namespace || targetRef.namespace === "" ? targetRef.uid : "";
}

function podNamed(endpoint: SliceEndpoint, slice: EndpointSlice, podByUid: Surroundings["podByUid"]): Pod | undefined {
  const pod = podByUid(uidOf(endpoint, slice));
  return pod?.namespace === slice.namespace ? pod : undefined;
}

function localityOf({ nodeName, zone }: SliceEndpoint, nodeByName: Surroundings["nodeByName"], given: Locality): Locality {
  const node = nodeByName(nodeName) ?? { region: "", zone: "" };
  const nodeZone = node.zone === "" ? zone : node.zone;
  if (node.region === "" && nodeZone === "") return given;
  return { ...NO_LOCALITY, region: node.region === "" ? given.region : node.region, zone: nodeZone === "" ? given.zone : nodeZone };
}
