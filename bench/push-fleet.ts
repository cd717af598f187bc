/**
 * Many simulated proxies in a process of their own, so that what the server
 * costs can be read off the server's process. Started by a benchmark with
 * `fork`; speaks by messages.
 */
import type { GrpcTarget } from "../base/grpc/client-connection.ts";
import { type PushClient, startPushClient } from "./push-clients.ts";
import { TYPE_URLS } from "../xds/type-urls.ts";

/** What the benchmark asks of the fleet. */
export type FleetRequest =
  | {
      readonly kind: "start";
      readonly target: GrpcTarget;
      readonly clients: number;
      readonly routeConfigurations: readonly string[];
      /** A client is complete when it holds this many of each type. */
      readonly expected: Readonly<Record<string, number>>;
    }
  /** A client has arrived when all of these came; without a version, any. */
  | { readonly kind: "expect"; readonly resources: readonly { readonly typeUrl: string; readonly name: string; readonly version?: string }[] }
  | { readonly kind: "stop" };

/** What it answers: when each client was there, in milliseconds since the epoch, and what all have received since the last answer. */
export type FleetAnswer = { readonly kind: "ready" } | { readonly kind: "arrived"; readonly atMs: readonly number[]; readonly bytes: number };

let clients: PushClient[] = [];
let arrivals: number[] = [];
let seenBytes = 0;
/** What each client still waits for. */
let wanted: Map<string, string | undefined>[] = [];

const now = (): number => performance.timeOrigin + performance.now();
const say = (answer: FleetAnswer): void => void process.send?.(answer);

function report(count: number): void {
  if (arrivals.length < count) return;
  const bytes = clients.reduce((sum, client) => sum + client.bytes(), 0);
  say({ kind: "arrived", atMs: arrivals, bytes: bytes - seenBytes });
  seenBytes = bytes;
  arrivals = [];
}

/** True where this was the last that the client waited for. */
function isLast(index: number, key: string, version: string): boolean {
  const open = wanted[index];
  if (open?.has(key) !== true || (open.get(key) ?? version) !== version) return false;
  open.delete(key);
  return open.size === 0;
}

async function start(request: FleetRequest & { readonly kind: "start" }): Promise<void> {
  const total = Object.values(request.expected).reduce((sum, count) => sum + count, 0);
  const connect = async (index: number): Promise<PushClient> => {
    /** Until all were there: one that comes twice is one. */
    let seen: Set<string> | undefined = new Set();
    return startPushClient({
      connection: { target: request.target, maxMessageBytes: 64 << 20 },
      node: { id: `proxy-${index}` },
      wildcardTypes: [TYPE_URLS.cluster, TYPE_URLS.listener],
      fetchesAssignmentsByName: true,
      routeConfigurations: request.routeConfigurations,
      takesVirtualHosts: request.expected[TYPE_URLS.virtualHost] !== 0,
      onResource(typeUrl, name, version) {
        if (seen !== undefined) {
          // A cluster that needs no endpoints is answered by a removal of them.
          if (version === "") return;
          if (seen.add(`${typeUrl} ${name}`).size < total) return;
          seen = undefined;
          arrivals.push(now());
        } else if (!isLast(index, `${typeUrl} ${name}`, version)) return;
        else arrivals.push(now());
        // After this turn, so that the message is counted before it is reported.
        setImmediate(report, request.clients);
      },
    });
  };
  clients = await Promise.all(Array.from({ length: request.clients }, (_, index) => connect(index)));
}

process.on("message", (request: FleetRequest) => {
  if (request.kind === "start") void start(request);
  else if (request.kind === "expect") {
    wanted = clients.map(() => new Map(request.resources.map(({ typeUrl, name, version }) => [`${typeUrl} ${name}`, version])));
    say({ kind: "ready" });
  } else process.exit(0);
});
