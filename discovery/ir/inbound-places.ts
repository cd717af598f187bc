import type { ContestedPortIr, InboundPortIr, HostWorkloadIr } from "./proxy.ts";

/** An address of a host, and whose a port is there; an empty address is every address. */
interface Place {
  readonly address: string;
  readonly owner: string;
}

/**
 * Gives every (address, port) of a host to one workload: an inbound connection
 * says nothing but where it goes to. The first by name keeps a place that two
 * claim; what the others lose is told.
 */
export function settleInboundPlaces(workloads: readonly HostWorkloadIr[]): {
  readonly workloads: readonly HostWorkloadIr[];
  readonly contested: readonly ContestedPortIr[];
} {
  const taken = new Map<number, Place[]>();
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
function settlePort(owner: string, port: InboundPortIr, taken: Map<number, Place[]>, contested: ContestedPortIr[]): InboundPortIr[] {
  const claimed = port.addresses.length === 0 ? [""] : port.addresses;
  const atPort = taken.get(port.port) ?? [];
  const kept = claimed.filter((address) => {
    const holder = atPort.find((place) => place.owner !== owner && overlaps(place.address, address));
    if (holder === undefined) return true;
    contested.push({ workload: owner, address, port: port.port, owner: holder.owner });
    return false;
  });
  taken.set(port.port, [...atPort, ...kept.map((address) => ({ address, owner }))]);
  if (kept.length === 0) return [];
  return [kept.length === claimed.length ? port : { ...port, addresses: kept }];
}

function overlaps(left: string, right: string): boolean {
  return left === right || left === "" || right === "";
}
