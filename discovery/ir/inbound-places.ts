import type { ContestedPortIr, InboundPortIr, ProxyWorkloadIr } from "./proxy.ts";

/** An address and port of a host, and whose it is; an empty address is every address. */
interface Place {
  readonly address: string;
  readonly port: number;
  readonly owner: string;
}

/**
 * Gives every (address, port) of a host to one workload: an inbound connection
 * says nothing but where it goes to. The first by name keeps a place that two
 * claim; what the others lose is told.
 */
export function settleInboundPlaces(workloads: readonly ProxyWorkloadIr[]): {
  readonly workloads: readonly ProxyWorkloadIr[];
  readonly contested: readonly ContestedPortIr[];
} {
  const taken: Place[] = [];
  const contested: ContestedPortIr[] = [];
  const settled = workloads
    .toSorted((left, right) => (left.name < right.name ? -1 : 1))
    .map((workload) => {
      const inbound = workload.inbound.flatMap((port) => settlePort(workload.name, port, taken, contested));
      return { ...workload, inbound };
    });
  return { workloads: settled, contested };
}

/** What a workload keeps of a port: all of it, some of its addresses, or nothing. */
function settlePort(owner: string, port: InboundPortIr, taken: Place[], contested: ContestedPortIr[]): InboundPortIr[] {
  const claimed = port.addresses.length === 0 ? [""] : port.addresses;
  const kept = claimed.filter((address) => {
    const holder = taken.find((place) => place.port === port.port && place.owner !== owner && overlaps(place.address, address));
    if (holder === undefined) return true;
    contested.push({ workload: owner, address, port: port.port, owner: holder.owner });
    return false;
  });
  for (const address of kept) taken.push({ address, port: port.port, owner });
  if (kept.length === 0) return [];
  return [kept.length === claimed.length ? port : { ...port, addresses: kept }];
}

function overlaps(left: string, right: string): boolean {
  return left === right || left === "" || right === "";
}
