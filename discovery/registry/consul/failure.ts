import { CodedError, messageOf } from "../../../base/coded-error.ts";
import type { RegistryFailure } from "../registry.ts";

/** What can be wrong with a Consul, by what to do about it. */
export type ConsulFailureCode =
  /** Nobody answers, or not in time, or not in HTTP. */
  | "MESH_REGISTRY_UNREACHABLE"
  /** It answers that it cannot: no leader, an internal error. */
  | "MESH_REGISTRY_UNAVAILABLE"
  /** The token is missing, unknown, or not allowed to read. */
  | "MESH_REGISTRY_DENIED"
  /** Too many connections or requests. */
  | "MESH_REGISTRY_THROTTLED"
  /** It does not know what it is asked for: a wrong datacenter, an enterprise feature. */
  | "MESH_REGISTRY_MISCONFIGURED"
  /** What it answers is not what the API promises. */
  | "MESH_REGISTRY_MALFORMED"
  /** More is missing than is believable, and nothing confirms it. */
  | "MESH_REGISTRY_SHRUNK";

/** Failures that pass without anybody doing anything about the registry. */
export const TRANSIENT: ReadonlySet<string> = new Set<ConsulFailureCode>(["MESH_REGISTRY_UNREACHABLE", "MESH_REGISTRY_UNAVAILABLE", "MESH_REGISTRY_THROTTLED"]);

const hints: Readonly<Record<ConsulFailureCode, string>> = {
  MESH_REGISTRY_UNREACHABLE: "is the Consul agent up, and is its address and TLS configuration right?",
  MESH_REGISTRY_UNAVAILABLE: "does the Consul cluster have a leader? `consul operator raft list-peers`",
  MESH_REGISTRY_DENIED: "the token needs service:read and node:read for the services that the mesh shall see",
  MESH_REGISTRY_THROTTLED: "give an https:// address, raise limits.http_max_conns_per_client of the Consul agent, or lower the registry's maxConnections",
  MESH_REGISTRY_MISCONFIGURED: "is the datacenter spelled as `consul catalog datacenters` prints it? namespaces and partitions are of Consul Enterprise alone",
  MESH_REGISTRY_MALFORMED: "is this address really a Consul agent's HTTP API?",
  MESH_REGISTRY_SHRUNK: "the last good content stays in force until a leader confirms the new one",
};

/** What is known better by the words of a failure, of ours or of whoever answered. */
const particularHints: readonly (readonly [said: RegExp, hint: string])[] = [
  [/no token is configured/, "give the registry a tokenFile, with a token that has service:read and node:read"],
  [/^the token file cannot be read/, "tokenFile is a file with the token alone, which the control plane may read"],
  [/ACL not found/, "this Consul has no such token: was it deleted, has it expired, is it local to another datacenter? The file wants the token's SecretID, not its AccessorID"],
  [/HTTP request to an HTTPS server/, "this port of Consul speaks TLS: write https://"],
  [/wrong version number/, "this port of Consul speaks no TLS: give its https port, or write http://"],
  [/unable to (?:verify|get)|self[- ]signed certificate/, "caFile has to be the root of the Consul agent's certificate (`consul tls ca create` names it consul-agent-ca.pem)"],
  [/certificate required/, "this Consul wants a client certificate (verify_incoming): give certificateFile and keyFile"],
  [/altnames/, "give serverName a name that is in the Consul agent's certificate, such as server.dc1.consul"],
  [/^consul answered 404/, "is this address really a Consul agent's HTTP API?"],
];

export function consulFailure(code: ConsulFailureCode, message: string, cause?: unknown, facts: Readonly<Record<string, unknown>> = {}): CodedError {
  const hint = particularHints.find(([said]) => said.test(message))?.[1] ?? hints[code];
  return new CodedError(code, message, { hint, facts, ...(cause === undefined ? {} : { cause }) });
}

/** A failure as a status tells it. @param since milliseconds since the epoch */
export function lastingFailure({ code, message, hint }: CodedError, since: number): RegistryFailure {
  return { code, message, ...(hint === undefined ? {} : { hint }), since };
}

/** What an answer that is no 2xx means. @param body as far as it is text */
export function failureOfStatus(status: number, body: string): CodedError {
  const said = body.trim().slice(0, 200);
  const message = `consul answered ${status}${said === "" ? "" : `: ${said}`}`;
  return consulFailure(codeOfStatus(status, said), message, undefined, { status });
}

/** What is thrown where no answer came at all. */
export function failureOfTransport(cause: unknown): CodedError {
  return consulFailure("MESH_REGISTRY_UNREACHABLE", `consul does not answer: ${messageOf(cause).trim()}`, cause);
}

/** What Node says where no connection can be made at all: whatever is asked, the answer is the same. */
const NO_WAY: ReadonlySet<unknown> = new Set(["ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH", "ENOTFOUND", "EAI_AGAIN", "ENOENT", "EACCES"]);

/** True where there is no way to the agent, which no other question would find either. */
export function isOfTheWay({ cause }: CodedError): boolean {
  return cause instanceof Error && NO_WAY.has((cause as NodeJS.ErrnoException).code);
}

function codeOfStatus(status: number, said: string): ConsulFailureCode {
  if (status === 401 || status === 403) return "MESH_REGISTRY_DENIED";
  if (status === 429) return "MESH_REGISTRY_THROTTLED";
  // Consul says 500 to an unknown datacenter too.
  if (status === 400 || status === 404 || said.includes("No path to datacenter")) return "MESH_REGISTRY_MISCONFIGURED";
  return "MESH_REGISTRY_UNAVAILABLE";
}
