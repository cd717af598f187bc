import type { Problem } from "./finding.ts";
import { list, map, object, text, type ObjectRule, type ObjectSchema } from "./schema.ts";
import { isHttpToken } from "./text.ts";

/** Envoy's substitution commands that a header value may use, and what each takes in parentheses. */
const COMMANDS: Readonly<Record<string, "header" | "format" | "nothing">> = {
  REQ: "header",
  RESP: "header",
  START_TIME: "format",
  ...Object.fromEntries(
    [
      "PROTOCOL", "HOSTNAME", "RESPONSE_CODE", "RESPONSE_FLAGS", "ROUTE_NAME", "REQUESTED_SERVER_NAME",
      "DOWNSTREAM_REMOTE_ADDRESS", "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
      "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT", "DOWNSTREAM_LOCAL_ADDRESS", "DOWNSTREAM_LOCAL_PORT", "DOWNSTREAM_PEER_URI_SAN",
      "DOWNSTREAM_LOCAL_URI_SAN", "DOWNSTREAM_PEER_SUBJECT", "DOWNSTREAM_TLS_VERSION", "UPSTREAM_HOST", "UPSTREAM_CLUSTER",
    ].map((name) => [name, "nothing"] as const),
  ),
};

/** Envoy's own limits; beyond one of them it refuses the whole route. */
const MAX_BYTES = 16_384;
const MAX_CHANGES = 1_000;

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
  return isHttpToken(name) ? tooLong(name) : notAToken(name);
}

/** As `changedHeaderProblem`; but setting Host on a whole route is a rewrite of the authority. */
function routeHeaderProblem(name: string): Problem | undefined {
  const isHost = name.toLowerCase() === "host" || name === ":authority";
  return isHost ? undefined : changedHeaderProblem(name);
}

function notAToken(name: string): Problem {
  return { code: "IM0124", message: `${JSON.stringify(name)} is not a header name` };
}

function tooLong(text: string): Problem | undefined {
  return Buffer.byteLength(text) <= MAX_BYTES ? undefined : { code: "IM0121", message: `is longer than ${MAX_BYTES} bytes` };
}

/** A value that Envoy can send: no control characters, and `%` only in commands that it knows or doubled. */
export function headerValueProblem(value: string): Problem | undefined {
  // oxlint-disable-next-line no-control-regex -- control characters are what must not get in
  if (/[\u0000-\u0008\u000a-\u001f\u007f]/.test(value)) return { code: "IM0124", message: "the value has control characters" };
  let misused: string | undefined;
  const left = value.replaceAll("%%", "").replace(/%([A-Z][A-Z0-9_]*)(\([^()%]*\))?(:\d+)?%/g, (all, command: string, argument = "", length = "") => {
    if (COMMANDS[command] === undefined) return all;
    misused ??= commandProblem(command, argument.slice(1, -1), argument !== "", length);
    return "";
  });
  if (left.includes("%")) return { code: "IM0124", message: "the value has a % that starts no known command", remedy: "write %% for a percent sign" };
  return misused === undefined ? tooLong(value) : { code: "IM0124", message: misused };
}

/** What Envoy would refuse a known command for. */
function commandProblem(command: string, argument: string, hasArgument: boolean, length: string): string | undefined {
  if (length.length > ":99999".length) return `%${command}…% with a length of ${length.slice(1)}`;
  switch (COMMANDS[command]) {
    case "header": {
      const names = argument.split("?");
      const isSound = names.length <= 2 && names.every((name) => isHttpToken(name.replace(/^:/, "")));
      return isSound ? undefined : `%${command}% needs the name of a header, or two as NAME?OTHER: %${command}(x-user)%`;
    }
    case "format":
      return undefined;
    default:
      return hasArgument || length !== "" ? `%${command}% takes nothing in parentheses and no length` : undefined;
  }
}

const notTooMany: ObjectRule = (value, path, report) => {
  const count = ["set", "add"].reduce((sum, name) => sum + Object.keys((value[name] as object | undefined) ?? {}).length, 0);
  if (count > MAX_CHANGES) report({ code: "IM0121", path, message: `${count} headers are set or added; ${MAX_CHANGES} are allowed` });
};

function headerOperations(requestSet: (name: string) => Problem | undefined): ObjectSchema {
  const value = text("header value", headerValueProblem);
  const changes = (set: (name: string) => Problem | undefined): ObjectSchema =>
    object({
      set: map(set, value),
      add: map(changedHeaderProblem, value),
      remove: list(text("header name", changedHeaderProblem)),
    }, notTooMany);
  return object({ request: changes(requestSet), response: changes(changedHeaderProblem) });
}

/** `headers` of a whole route. */
export const routeHeaders: ObjectSchema = headerOperations(routeHeaderProblem);
/** `headers` of one weighted destination. */
export const destinationHeaders: ObjectSchema = headerOperations(changedHeaderProblem);
