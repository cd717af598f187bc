/**
 * Many agents in a process of their own. Started by `bench/fleet.ts` with
 * `fork`; speaks by messages.
 */
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { TYPE_URLS } from "../xds/type-urls.ts";
import { type FleetAgent, type FleetCounts, startFleetAgent } from "./fleet-agent.ts";
import { isOfHosts } from "./fleet-content.ts";

/** What the benchmark asks. */
export type FleetRequest =
  | { readonly kind: "start"; readonly port: number; readonly first: number; readonly tokens: readonly string[]; readonly stateDir: string; readonly atOnce: number }
  /** From now on counts are of what comes, and an agent arrives when it has another version of each of these. */
  | { readonly kind: "reset"; readonly resources: readonly { readonly typeUrl: string; readonly name: string }[] }
  | { readonly kind: "renew" }
  | { readonly kind: "look" };

/** Times in milliseconds since the epoch; counts since the reset before. */
export interface FleetAnswer {
  readonly joined: number;
  readonly synced: number;
  /** Agents that were synced since the reset, and when they were so last. */
  readonly syncedAtMs: readonly number[];
  readonly arrivedAtMs: readonly number[];
  readonly counts: FleetCounts;
  /** Agents with more than one stream. */
  readonly again: number;
  /** What one of the hosts would send to: the fewest endpoints of hosts at any time, and how often they changed. */
  readonly fewestEndpoints: number;
  readonly endpoints: number;
  readonly endpointChanges: number;
  readonly longestBlockMs: number;
}

const now = (): number => performance.timeOrigin + performance.now();
const fresh = (): FleetCounts => ({ joinAttempts: 0, renewed: 0, streams: 0, receivedBytes: 0, sentBytes: 0, complaints: {} });
const agents: FleetAgent[] = [];
const counts = fresh();
const delays = monitorEventLoopDelay({ resolution: 10 });
delays.enable();
/** The agent whose view of the hosts is looked at. */
let witness = 0;
let joined = 0;
let syncedAt = new Map<number, number>();
let arrivedAt = new Map<number, number>();
/** What each agent still waits for. */
let open = new Map<number, Set<string>>();
let endpointChanges = 0;
let fewest = Number.POSITIVE_INFINITY;
let isLookDue = false;

function note(index: number, typeUrl: string, name: string): void {
  if (agents.length > 0 && index === witness && typeUrl === TYPE_URLS.clusterLoadAssignment && isOfHosts(name)) {
    endpointChanges += 1;
    if (!isLookDue) {
      isLookDue = true;
      setImmediate(lookAtEndpoints);
    }
  }
  const mine = open.get(index);
  if (mine?.delete(`${typeUrl} ${name}`) === true && mine.size === 0) arrivedAt.set(index, now());
}

function lookAtEndpoints(): void {
  isLookDue = false;
  const [first] = agents;
  if (first?.isSynced() === true) fewest = Math.min(fewest, first.servingEndpoints());
}

/** A host begins to join when one of those before is complete. */
function start({ port, first, tokens, stateDir, atOnce }: FleetRequest & { readonly kind: "start" }): void {
  witness = first;
  let begun = 0;
  const begin = (): void => {
    const token = tokens[begun];
    if (token === undefined) return;
    const index = first + begun;
    begun += 1;
    let isFirst = true;
    void startFleetAgent({
      index,
      port,
      token,
      stateDir: join(stateDir, String(index)),
      counts,
      onJoined: () => (joined += 1),
      onSynced() {
        syncedAt.set(index, now());
        if (isFirst) begin();
        isFirst = false;
      },
      onResource: ({ typeUrl, name }) => note(index, typeUrl, name),
    }).then((agent) => (index === witness ? agents.unshift(agent) : agents.push(agent)));
  };
  for (let count = 0; count < atOnce; count += 1) begin();
}

function reset(resources: readonly { readonly typeUrl: string; readonly name: string }[]): void {
  syncedAt = new Map();
  arrivedAt = new Map();
  open = new Map(resources.length === 0 ? [] : agents.map((_agent, offset) => [witness + offset, new Set(resources.map(({ typeUrl, name }) => `${typeUrl} ${name}`))]));
  const { complaints } = counts;
  for (const words of Object.keys(complaints)) delete complaints[words];
  Object.assign(counts, { ...fresh(), complaints });
  for (const agent of agents) agent.streams = 0;
  endpointChanges = 0;
  fewest = agents[0]?.isSynced() === true ? agents[0].servingEndpoints() : Number.POSITIVE_INFINITY;
  delays.reset();
}

function look(): FleetAnswer {
  return {
    joined,
    synced: agents.filter((agent) => agent.isSynced()).length,
    syncedAtMs: [...syncedAt.values()],
    arrivedAtMs: [...arrivedAt.values()],
    counts,
    again: agents.filter(({ streams }) => streams > 1).length,
    fewestEndpoints: Number.isFinite(fewest) ? fewest : -1,
    endpoints: agents[0]?.servingEndpoints() ?? 0,
    endpointChanges,
    longestBlockMs: delays.max / 1e6,
  };
}

// Nobody asks any more.
process.once("disconnect", () => process.exit(0));
process.on("message", (request: FleetRequest) => {
  if (request.kind === "start") start(request);
  else if (request.kind === "reset") reset(request.resources);
  else if (request.kind === "renew") for (const agent of agents) agent.renew();
  else process.send?.(look());
});
