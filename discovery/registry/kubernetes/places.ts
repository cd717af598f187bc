import type { Health } from "../../../model/workload.ts";
import type { EndpointSlice, Pod, SliceEndpoint } from "./objects.ts";

/** An endpoint of a slice that can be called. */
export interface Found {
  readonly slice: EndpointSlice;
  readonly endpoint: SliceEndpoint;
  readonly address: string;
  /** Of the pod that it is said to be of, and that does not contradict; empty: of none. */
  readonly uid: string;
  /** Whose labels and service account it has: of its namespace, with this address. */
  readonly pod: Pod | undefined;
  readonly health: Health;
}

const BEST_FIRST: readonly Health[] = ["healthy", "draining", "unhealthy", "unknown"];

/** Orders what is told by how well it is. */
export function byHealth(left: Found, right: Found): number {
  return BEST_FIRST.indexOf(left.health) - BEST_FIRST.indexOf(right.health);
}

/**
 * One for each address with its ports. Several tell of one while slices change,
 * where controllers of others write slices too, and where a pod leaves its
 * node's address to the next: the better news is believed, as kube-proxy does,
 * and it is the pod's where one is named.
 */
export function oneAtEachPlace(found: readonly Found[]): readonly Found[] {
  if (new Set(found.map(({ address }) => address)).size === found.length) return found;
  const portsOf = new Map<EndpointSlice, string>();
  for (const { slice } of found) if (!portsOf.has(slice)) portsOf.set(slice, JSON.stringify(slice.ports.map(({ name, port, protocol }) => `${protocol} ${name} ${port}`).sort()));
  return [...Map.groupBy(found, ({ slice, address }) => `${address} ${portsOf.get(slice)}`).values()].map((tellers) => {
    const [first, ...others] = tellers as [Found, ...Found[]];
    if (others.length === 0) return first;
    const [best = first] = tellers.toSorted(byHealth);
    // Without a pod the first one is its name: which of them is the best may change at any time.
    const [named = first] = tellers.filter(({ uid }) => uid !== "").sort(byHealth);
    const { conditions } = best.endpoint;
    const hints = { ...named.endpoint.hints, zones: tellers.flatMap(({ endpoint }) => endpoint.hints.zones), nodes: tellers.flatMap(({ endpoint }) => endpoint.hints.nodes) };
    return { ...named, health: best.health, endpoint: { ...named.endpoint, conditions, hints } };
  });
}

/**
 * What is one instance, by its key: all that is told of one pod. A pod has one
 * address of each family; what else is said to be its, is by itself.
 */
export function groupByInstance(found: readonly Found[], registry: string): Map<string, Found[]> {
  const addresses = new Map<string, string>();
  return Map.groupBy(found, ({ slice, address, uid }) => {
    const family = `${uid} ${slice.addressType}`;
    if (!addresses.has(family)) addresses.set(family, address);
    return uid !== "" && addresses.get(family) === address ? `${registry}/pod/${uid}` : `${registry}/endpoint/${slice.namespace}/${slice.name}/${address}`;
  });
}
