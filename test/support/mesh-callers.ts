import { type Family, type HttpAnswer, type MeshScenario, ofFamily, UID, VIP } from "./mesh-scenario.ts";
import { waitUntil } from "./wait-until.ts";

/** Whom the server's proxy took the caller for, as the application was told. */
export function callerOf({ body }: HttpAnswer): string {
  return /URI=([^;]*)/.exec(body?.headers?.["x-forwarded-client-cert"] ?? "")?.[1] ?? "nobody";
}

/** Each workload's callers as the server saw them, from both workloads at once. */
export async function callersInParallel(mesh: MeshScenario, family: Family): Promise<Record<"web" | "api", string[]>> {
  const authority = family === "v4" ? "reviews" : "reviews-six";
  const many = { requests: 60, parallel: 6 } as const;
  const seenAs = async (workload: "web" | "api"): Promise<string[]> => {
    const call = { uid: UID[workload], host: ofFamily(VIP.reviews, family), ...many };
    const answers = await Promise.all([
      mesh.http(mesh.hosts.a, { ...call, mode: "http1", port: 8080, authority }),
      mesh.http(mesh.hosts.a, { ...call, mode: "http2", port: 8081, authority: "grpc" }),
    ]);
    return [...new Set(answers.flat().map((answer) => (answer.status === 200 ? callerOf(answer) : `status ${answer.status ?? answer.error}`)))].sort();
  };
  const [web, api] = await Promise.all([seenAs("web"), seenAs("api")]);
  return { web, api };
}

type Line = Readonly<Record<string, unknown>>;

/** Lines of a log by an address in them, in their order. */
function byAddress(lines: readonly Line[], field: string): Map<string, Line[]> {
  return Map.groupBy(lines, (line) => String(line[field]));
}

const DB_CLUSTER = "outbound|5432||db.default.svc.mesh.internal";

/**
 * As `callersInParallel`, for TCP, which tells the application nothing: each
 * connection is found in the logs of both proxies by the address that the
 * caller's proxy had in it.
 */
export async function tcpCallersInParallel(mesh: MeshScenario, family: Family): Promise<Record<"web" | "api", string[]>> {
  const linesOfDb = (): Line[] => mesh.proxies.a.accessLog().filter((line) => line["upstream_cluster"] === DB_CLUSTER);
  const before = linesOfDb().length;
  const many = { host: ofFamily(VIP.db, family), port: 5432, requests: 60, parallel: 12 } as const;
  const answers = (await Promise.all((["web", "api"] as const).map((workload) => mesh.tcpMany(mesh.hosts.a, { ...many, uid: UID[workload] })))).flat();
  const failed = answers.filter(({ received }) => received !== "db says hello\nping\n");
  if (failed.length > 0) throw new Error(`${failed.length} connections failed: ${JSON.stringify(failed[0])}`);

  const pairs = await waitUntil(() => {
    // Only of this service: to another one's port the same local port may be in use at the same time.
    const servers = byAddress(mesh.proxies.b.accessLog().filter((line) => line["filter_chain"] === "db|5432|mtls"), "downstream_remote_address");
    const ofDb = linesOfDb();
    const callers = byAddress(ofDb, "upstream_local_address");
    // Lines come late: those of connections before these may be among them, and are judged too.
    const connections = ofDb.slice(before).map((line) => {
      const address = String(line["upstream_local_address"]);
      // A port that was used again: one connection after the other, in both logs.
      const turn = callers.get(address)?.indexOf(line) ?? -1;
      return { workload: line["workload"], line, seenAs: servers.get(address)?.[turn]?.["downstream_peer_identity"] };
    });
    const alone = connections.find(({ seenAs }) => seenAs === undefined);
    if (connections.length < answers.length || alone !== undefined) {
      throw new Error(`${connections.length} of ${answers.length} connections; without its other half: ${JSON.stringify(alone?.line)}, ${JSON.stringify(servers.get(String(alone?.line["upstream_local_address"])))}`);
    }
    return connections;
  }, { what: "both logs to have every connection" });
  const seenAs = (workload: string): string[] => [...new Set(pairs.filter((pair) => pair.workload === `default/${workload}`).map((pair) => String(pair.seenAs)))].sort();
  return { web: seenAs("web"), api: seenAs("api") };
}
