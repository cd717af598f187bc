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

/** What each workload says on a TCP connection, and nobody else: the proxies log how long it was. */
const SAYS = { web: "this is web", api: "and this is api" } as const;

/**
 * As `callersInParallel`, for TCP, which tells the application nothing: what the
 * server's proxy logged is told apart by how many bytes the caller said. (Its
 * address would not do: where connections of one source port to two ports are
 * captured, the kernel gives one of them another source port.)
 */
export async function tcpCallersInParallel(mesh: MeshScenario, family: Family): Promise<Record<"web" | "api", string[]>> {
  const many = { host: ofFamily(VIP.db, family), port: 5432, requests: 60, parallel: 12 } as const;
  const callersOf = (workload: "web" | "api"): string[] =>
    mesh.proxies.b
      .accessLog()
      .filter((line) => line["filter_chain"] === "db|5432|mtls" && line["bytes_received"] === SAYS[workload].length + 1)
      .map((line) => String(line["downstream_peer_identity"]));
  const seenAs = async (workload: "web" | "api"): Promise<string[]> => {
    const before = callersOf(workload).length;
    const says = SAYS[workload];
    const answers = await mesh.tcpMany(mesh.hosts.a, { ...many, uid: UID[workload], says });
    const failed = answers.filter(({ received }) => received !== `db says hello\n${says}\n`);
    if (failed.length > 0) throw new Error(`${failed.length} connections failed: ${JSON.stringify(failed[0])}`);
    await waitUntil(() => callersOf(workload).length >= before + answers.length, { what: `the server's proxy to log the ${answers.length} connections of ${workload}` });
    return [...new Set(callersOf(workload))].sort();
  };
  const [web, api] = await Promise.all([seenAs("web"), seenAs("api")]);
  return { web, api };
}
