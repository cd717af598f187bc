import { dnsLabelProblem } from "../../../../api/name.ts";
import { policyMethodProblem, policyPathProblem } from "../../../../api/policy-pattern.ts";
import { type EntryOf, isDefaultPlace, type Permission } from "./entry.ts";
import { entryName, type ReportFinding } from "./finding.ts";
import { ANY_OPERATION, isAny, MAX_OPERATIONS, type Operation, subtractAll } from "./operations.ts";
import { type ConfigEntries, EVERYWHERE } from "./read-entries.ts";

/** What a caller may do: these requests; all of them where there is `ANY_OPERATION`; none where the list is empty. */
export type Allowed = readonly Operation[];

/** Who may call a destination. */
export interface Verdicts {
  /** By the name of the calling service. */
  readonly exact: ReadonlyMap<string, Allowed>;
  /** Of everybody else. */
  readonly rest: Allowed;
  /** Everybody else of the namespace only: who is of another may do nothing. */
  readonly isRestLocal: boolean;
  readonly from: readonly string[];
}

export const EVERYTHING: Allowed = [ANY_OPERATION];
export const NOTHING: Allowed = [];

const WILDCARD = "*";
/** The entries of all destinations: of the namespace, and of all namespaces. */
const WILDCARDS: readonly string[] = [WILDCARD, EVERYWHERE];

type Intentions = EntryOf<"service-intentions">;

export function isEverything(allowed: Allowed): boolean {
  return allowed.some(isAny);
}

/**
 * Consul's precedence: the destination's own intentions before those of all
 * destinations, and among each a source's own before those of all sources.
 * Source: developer.hashicorp.com/consul/docs/secure-mesh/intention#precedence-and-match-order
 *
 * @param destination `*` for those that have no intentions of their own
 * @param isAllowedByDefault what holds where no intention does
 */
export function verdictsOn(destination: string, entries: ConfigEntries, isAllowedByDefault: boolean, report: ReportFinding): Verdicts {
  const { nameless, foreign, ...verdicts } = readVerdicts(destination, entries, isAllowedByDefault, report);
  const { rest, from } = verdicts;
  const isLess = (allowed: Allowed): boolean => rest.length > 0 && subtractAll(rest, allowed)?.length !== 0;
  const refused = [...nameless].filter(([, allowed]) => isLess(allowed)).map(([name]) => name);
  const isRestLocal = verdicts.isRestLocal || foreign.some(isLess);
  if (refused.length === 0) return { ...verdicts, isRestLocal };
  report({
    effect: "lost",
    entry: from[0] ?? "",
    path: "Sources",
    message: `${refused.join(", ")} may do less than others, and would be taken for one of those, because its identity in the mesh is not known: all that are not named are refused`,
    remedy: "name the callers that are allowed, or give it a name that a service account can have",
  });
  return { ...verdicts, isRestLocal, rest: NOTHING };
}

interface ReadVerdicts extends Verdicts {
  /** What sources of the namespace may do that the mesh cannot tell from others. */
  readonly nameless: ReadonlyMap<string, Allowed>;
  /** What sources may do that are of peers and of other namespaces. */
  readonly foreign: readonly Allowed[];
}

function readVerdicts(destination: string, { intentions }: ConfigEntries, isAllowedByDefault: boolean, report: ReportFinding): ReadVerdicts {
  const exact = new Map<string, Allowed>();
  const nameless = new Map<string, Allowed>();
  const foreign: Allowed[] = [];
  const from: string[] = [];
  for (const name of destination === WILDCARD ? WILDCARDS : [destination, ...WILDCARDS]) {
    const entry = intentions.get(name);
    if (entry === undefined) continue;
    from.push(entryName("service-intentions", entry.Name));
    // What the wildcard's entry cannot say is reported once, where it is asked for by itself.
    const say: ReportFinding = name === destination || destination === WILDCARD ? report : () => {};
    let rest: Allowed | undefined;
    let restOfAll: Allowed | undefined;
    entry.Sources.forEach((source, index) => {
      const { Name: caller } = source;
      const isKnown = isKnownSource(entry, index, say);
      const allowed = allowedTo(entry, index, isAllowedByDefault, isKnown ? say : () => {});
      if (!isKnown) foreign.push(allowed);
      else if (caller !== WILDCARD) {
        if (!exact.has(caller)) exact.set(caller, allowed);
        if (dnsLabelProblem(caller) !== undefined && !nameless.has(caller)) nameless.set(caller, allowed);
      } else if (isDefaultPlace(source)) rest ??= allowed;
      else restOfAll ??= allowed;
    });
    // The namespace's own wildcard goes before that of all namespaces. It is not about others, of whom the default holds.
    if (rest !== undefined) return { exact, nameless, foreign, rest, isRestLocal: !isAllowedByDefault, from };
    if (restOfAll !== undefined) return { exact, nameless, foreign, rest: restOfAll, isRestLocal: false, from };
  }
  return { exact, nameless, foreign, rest: isAllowedByDefault ? EVERYTHING : NOTHING, isRestLocal: false, from };
}

function isKnownSource(entry: Intentions, index: number, report: ReportFinding): boolean {
  const source = entry.Sources[index];
  if (source === undefined) return false;
  const { Name: name, Namespace: namespace, Peer: peer, SamenessGroup: group } = source;
  const isEveryNamespace = name === WILDCARD && namespace === WILDCARD;
  if (peer === "" && group === "" && (isEveryNamespace || isDefaultPlace(source))) return true;
  report({
    effect: "lost",
    entry: entryName("service-intentions", entry.Name),
    path: `Sources[${index}]`,
    message: `the source ${name} belongs to a peer, sameness group, namespace or partition, whose identities the mesh does not know: it is as if it was not written`,
    remedy: "add the principal that the caller has in the mesh by hand",
  });
  return false;
}

function allowedTo(entry: Intentions, index: number, isAllowedByDefault: boolean, report: ReportFinding): Allowed {
  const source = entry.Sources[index];
  const name = entryName("service-intentions", entry.Name);
  const path = `Sources[${index}]`;
  if (source === undefined || source.Action === "deny") return NOTHING;
  const others = [...entry.others, ...source.others];
  if (others.length > 0) {
    report({ effect: "lost", entry: name, path, message: `the import does not know ${others.join(", ")}, which may be a condition: it allows nothing`, remedy: "look up what Consul does with it, and allow the source by hand" });
    return NOTHING;
  }
  if (entry.JWT !== undefined) {
    report({ effect: "lost", entry: name, path: "JWT", message: "the mesh does not check tokens yet: whoever needs one is refused", remedy: "check tokens in the application, and allow the sources by hand" });
    return NOTHING;
  }
  if (source.Permissions.length > 0) return allowedOperations(source.Permissions, isAllowedByDefault, (path_, message, remedy) => report({ effect: "lost", entry: name, path: `${path}.Permissions${path_}`, message, remedy }));
  return source.Action === "allow" ? EVERYTHING : NOTHING;
}

type Say = (path: string, message: string, remedy: string) => void;

/**
 * The requests that a list of permissions allows, of which the first that
 * matches decides. What an operation cannot say is refused, never allowed.
 *
 * A token is not part of what matches: who comes without the one that the first
 * permission asks for is refused, whatever a later permission says.
 */
function allowedOperations(permissions: readonly Permission[], isAllowedByDefault: boolean, say: Say): Allowed {
  const denied: Operation[] = [];
  const allowed: Operation[] = [];
  const allow = (operation: Operation, path: string): void => {
    const left = subtractAll([operation], denied);
    if (left !== undefined && allowed.length + left.length <= MAX_OPERATIONS) allowed.push(...left);
    else say(path, `what the permissions before deny leaves more than ${MAX_OPERATIONS} operations: it allows nothing`, "order the permissions so that fewer of them deny before one that allows");
  };
  permissions.forEach((permission, index) => {
    const path = `[${index}]`;
    const { operation, unsaid } = operationOf(permission);
    if (unsaid.length === 0) {
      if (permission.Action === "deny") denied.push(operation);
      else allow(operation, path);
      return;
    }
    const what = unsaid.join(" and ");
    const remedy = "match by method, exact path or prefix, or check the rest in the application";
    if (permission.Action === "deny") {
      denied.push(operation);
      say(path, `${what} cannot be said: more requests are refused than in Consul`, remedy);
    } else {
      if (permission.JWT !== undefined) denied.push(operation);
      say(path, `${what} cannot be said: the requests that it allows are refused`, remedy);
    }
  });
  if (isAllowedByDefault) allow(ANY_OPERATION, "");
  return allowed.some(isAny) ? EVERYTHING : allowed;
}

/** @returns `unsaid`: conditions that are left out of the operation, which so describes more requests */
function operationOf({ HTTP: http, JWT: token, others }: Permission): { operation: Operation; unsaid: readonly string[] } {
  const { PathExact: exact = "", PathPrefix: prefix = "", PathRegex: regex = "", Header: headers = [], Methods: methods = [] } = http ?? {};
  const begin = prefix === "" ? beginOf(regex) : prefix;
  const path = exact === "" ? (begin === "" || begin === "/" ? "" : `${begin}*`) : exact;
  // A * that is Consul's own would be a wildcard.
  const hasStar = (exact === "" ? begin : exact).includes("*");
  const isPath = path === "" || (!hasStar && policyPathProblem(path) === undefined);
  const areMethods = methods.every((method) => !method.includes("*") && policyMethodProblem(method) === undefined);
  return {
    operation: { ...ANY_OPERATION, paths: path !== "" && isPath ? [path] : [], methods: areMethods ? methods : [] },
    unsaid: [
      ...(regex === "" ? [] : ["a regular expression of the path"]),
      ...(isPath ? [] : [`the path ${path}`]),
      ...(areMethods ? [] : ["a method that is no word in capital letters"]),
      ...(headers.length === 0 ? [] : ["a condition on headers"]),
      ...(token === undefined ? [] : ["a condition on tokens"]),
      ...[...others, ...(http?.others ?? [])].map((name) => `${name}, which the import does not know,`),
    ],
  };
}

/** Plain text that all paths begin with that an expression matches as a whole; it may be less than there is. */
function beginOf(regex: string): string {
  if (regex.includes("|")) return "";
  const [plain = ""] = /^\/[\w/-]*/.exec(regex) ?? [];
  // What follows may say that the last character need not be there.
  return /^[?*{]/.test(regex.slice(plain.length)) ? plain.slice(0, -1) : plain;
}
