import { type Family, type HttpAnswer, type MeshScenario, ofFamily, UID, VIP } from "./mesh-scenario.ts";

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
