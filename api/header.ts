import type { Problem } from "./finding.ts";
import { list, map, object, text, type ObjectSchema } from "./schema.ts";
import { isHttpToken } from "./text.ts";

/** Envoy's substitution commands that a header value may use; an unknown one is a NACK. */
const COMMANDS = new Set([
  "REQ", "RESP", "PROTOCOL", "START_TIME", "HOSTNAME", "RESPONSE_CODE", "RESPONSE_FLAGS", "ROUTE_NAME", "REQUESTED_SERVER_NAME",
  "DOWNSTREAM_REMOTE_ADDRESS", "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
  "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT", "DOWNSTREAM_LOCAL_ADDRESS", "DOWNSTREAM_LOCAL_PORT", "DOWNSTREAM_PEER_URI_SAN",
  "DOWNSTREAM_LOCAL_URI_SAN", "DOWNSTREAM_PEER_SUBJECT", "DOWNSTREAM_TLS_VERSION", "UPSTREAM_HOST", "UPSTREAM_CLUSTER",
]);

/** A header that is matched: a token; what Istio has fields for must use them. */
export function matchedHeaderProblem(name: string): Problem | undefined {
  if (["uri", "scheme", "method", "authority"].includes(name)) {
    return { code: "IM0124", message: `${name} cannot be matched as a header`, remedy: `use the field ${name} beside headers` };
  }
  return isHttpToken(name) ? undefined : notAToken(name);
}

/** A header that is added, set or removed. Envoy refuses pseudo headers and Host. */
export function changedHeaderProblem(name: string): Problem | undefined {
  if (name.startsWith(":") || name.toLowerCase() === "host") {
    return { code: "IM0124", message: `${name} cannot be changed here`, remedy: "use rewrite.authority or rewrite.uri" };
  }
  return isHttpToken(name) ? undefined : notAToken(name);
}

/** As `changedHeaderProblem`; but setting Host on a whole route is a rewrite of the authority. */
function routeHeaderProblem(name: string): Problem | undefined {
  const isHost = name.toLowerCase() === "host" || name === ":authority";
  return isHost ? undefined : changedHeaderProblem(name);
}

function notAToken(name: string): Problem {
  return { code: "IM0124", message: `${JSON.stringify(name)} is not a header name` };
}

/** A value that Envoy can send: no control characters, and `%` only in commands that it knows or doubled. */
export function headerValueProblem(value: string): Problem | undefined {
  // oxlint-disable-next-line no-control-regex -- control characters are what must not get in
  if (/[\u0000-\u0008\u000a-\u001f\u007f]/.test(value)) return { code: "IM0124", message: "the value has control characters" };
  const left = value.replaceAll("%%", "").replace(/%([A-Z][A-Z0-9_]*)(\([^()%]*\))?(:\d+)?%/g, (all, command: string) => (COMMANDS.has(command) ? "" : all));
  if (!left.includes("%")) return undefined;
  return { code: "IM0124", message: "the value has a % that starts no known command", remedy: "write %% for a percent sign" };
}

function headerOperations(requestSet: (name: string) => Problem | undefined): ObjectSchema {
  const value = text("header value", headerValueProblem);
  const changes = (set: (name: string) => Problem | undefined): ObjectSchema =>
    object({
      set: map(set, value),
      add: map(changedHeaderProblem, value),
      remove: list(text("header name", changedHeaderProblem)),
    });
  return object({ request: changes(requestSet), response: changes(changedHeaderProblem) });
}

/** `headers` of a whole route. */
export const routeHeaders: ObjectSchema = headerOperations(routeHeaderProblem);
/** `headers` of one weighted destination. */
export const destinationHeaders: ObjectSchema = headerOperations(changedHeaderProblem);
