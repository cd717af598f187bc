/** A workload's loopback port, by the workload's name. */
export type OutboundPorts = Readonly<Record<string, number>>;

/**
 * Gives each workload a port from the first half of the range (the second half
 * is for a second Envoy beside the first). A workload keeps the port that it
 * had, so that adding one moves nobody else's connections.
 *
 * @param before what was assigned earlier, by the agent's own file
 */
export function assignOutboundPorts(names: readonly string[], before: OutboundPorts, range: readonly [number, number]): OutboundPorts {
  const [first, last] = range;
  const end = first + Math.floor((last - first + 1) / 2);
  const taken = new Set<number>();
  const assigned = new Map<string, number>();
  for (const name of names) {
    const port = Object.hasOwn(before, name) ? before[name] : undefined;
    if (port === undefined || port < first || port >= end || taken.has(port)) continue;
    taken.add(port);
    assigned.set(name, port);
  }
  let next = first;
  for (const name of names) {
    if (assigned.has(name)) continue;
    while (taken.has(next)) next += 1;
    if (next >= end) throw new Error(`no port is left for the workload ${name}`);
    taken.add(next);
    assigned.set(name, next);
  }
  return Object.fromEntries(assigned);
}
