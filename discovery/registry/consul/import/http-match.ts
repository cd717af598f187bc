import { isDeepStrictEqual } from "node:util";
import { regexProblem } from "../../../../api/regex.ts";
import type { WrittenStringMatch } from "../../../../api/string-match.ts";
import { err, ok, type Result } from "../../../../base/result.ts";
import type { RouteMatch } from "./entry.ts";

/** Istio's match of one HTTP route, as far as Consul's says anything. */
export interface HttpMatch {
  readonly uri?: WrittenStringMatch;
  readonly ignoreUriCase?: boolean;
  readonly method?: WrittenStringMatch;
  readonly headers?: Readonly<Record<string, WrittenStringMatch>>;
  readonly withoutHeaders?: Readonly<Record<string, WrittenStringMatch>>;
  readonly queryParams?: Readonly<Record<string, WrittenStringMatch>>;
}

/** By name; a Map, for a name is whatever people chose. */
type Matches = Map<string, WrittenStringMatch>;

/** Asks only that there is something. */
const PRESENT: WrittenStringMatch = {};

/** The same condition in Istio's words; an error in words where it has none. Undefined: every request. */
export function httpMatch(match: RouteMatch | undefined): Result<HttpMatch | undefined, string> {
  if (match === undefined) return ok(undefined);
  const headers: Matches = new Map();
  const withoutHeaders: Matches = new Map();
  const queryParams: Matches = new Map();
  for (const header of match.Header) {
    const name = header.Name.toLowerCase();
    const wanted = headerValue(header);
    if (wanted === undefined) continue;
    if (name.startsWith(":") || ["uri", "scheme", "method", "authority"].includes(name)) return err(`it matches ${header.Name} as a header`);
    const isPresence = isDeepStrictEqual(wanted, PRESENT);
    // An inverted value needs a header that is there, with another value; Istio's withoutHeaders takes a missing one too.
    const isAdded = header.Invert
      ? addMatch(withoutHeaders, name, wanted) && (isPresence || addMatch(headers, name, PRESENT))
      : addMatch(headers, name, wanted);
    if (!isAdded) return err(`it asks for two things of the header ${header.Name}`);
  }
  for (const param of match.QueryParam) {
    const wanted = param.Exact !== "" ? { exact: param.Exact } : param.Regex !== "" ? { regex: param.Regex } : param.Present ? PRESENT : undefined;
    if (wanted !== undefined && !addMatch(queryParams, param.Name, wanted)) return err(`it asks for two things of the query parameter ${param.Name}`);
  }
  const uri = pathMatch(match);
  const method = match.Methods.length === 0 ? undefined : match.Methods.length === 1 ? { exact: match.Methods[0] ?? "" } : { regex: match.Methods.join("|") };
  for (const { regex } of [uri ?? PRESENT, ...headers.values(), ...withoutHeaders.values(), ...queryParams.values()]) {
    const problem = regex === undefined ? undefined : regexProblem(regex);
    if (problem !== undefined) return err(`the expression ${JSON.stringify(regex)} is refused: ${problem.message}`);
  }
  const found: HttpMatch = {
    ...(uri === undefined ? {} : { uri }),
    ...(match.CaseInsensitive && uri !== undefined ? { ignoreUriCase: true } : {}),
    ...(method === undefined ? {} : { method }),
    ...whereAny("headers", headers),
    ...whereAny("withoutHeaders", withoutHeaders),
    ...whereAny("queryParams", queryParams),
  };
  return ok(Object.keys(found).length === 0 ? undefined : found);
}

function pathMatch({ PathExact, PathPrefix, PathRegex }: RouteMatch): WrittenStringMatch | undefined {
  if (PathExact !== "") return { exact: PathExact };
  if (PathPrefix !== "") return { prefix: PathPrefix };
  return PathRegex === "" ? undefined : { regex: PathRegex };
}

/** In Consul's order of preference; undefined where nothing is asked. */
function headerValue({ Exact, Regex, Prefix, Suffix, Contains, Present }: RouteMatch["Header"][number]): WrittenStringMatch | undefined {
  if (Exact !== "") return { exact: Exact };
  if (Regex !== "") return { regex: Regex };
  if (Prefix !== "") return { prefix: Prefix };
  if (Suffix !== "") return { regex: `.*${quoteRegex(Suffix)}` };
  if (Contains !== "") return { regex: `.*${quoteRegex(Contains)}.*` };
  return Present ? PRESENT : undefined;
}

/** False where the name has another condition already. */
function addMatch(matches: Matches, name: string, wanted: WrittenStringMatch): boolean {
  const known = matches.get(name);
  if (known === undefined || isDeepStrictEqual(known, PRESENT)) matches.set(name, wanted);
  else return isDeepStrictEqual(wanted, PRESENT) || isDeepStrictEqual(known, wanted);
  return true;
}

function whereAny<K extends "headers" | "withoutHeaders" | "queryParams">(key: K, matches: Matches): Pick<HttpMatch, K> {
  return (matches.size === 0 ? {} : { [key]: Object.fromEntries(matches) }) as Pick<HttpMatch, K>;
}

/** Text as a regular expression (RE2) that matches just it. */
function quoteRegex(text: string): string {
  return text.replaceAll(/[\\^$.*+?()[\]{}|]/g, "\\$&");
}
