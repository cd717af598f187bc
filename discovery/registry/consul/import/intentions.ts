import { policyMethodProblem, policyPathProblem } from "../../../../api/policy-pattern.ts";
import { type EntryOf, isDefaultPlace, type Permission } from "./entry.ts";
import { entryName, type ReportFinding } from "./finding.ts";
import { ANY_OPERATION, isAny, MAX_OPERATIONS, type Operation, subtractAll } from "./operations.ts";
import type { ConfigEntries } from "./read-entries.ts";

/** What a caller may do: these requests; all of them where there is `ANY_OPERATION`; none where the list is empty. */
export type Allowed = readonly Operation[];

/** Who may call a destination. */
export interface Verdicts {
  /** By the name of the calling service. */
  readonly exact: ReadonlyMap<string, Allowed>;
  /** Of everybody else. */
  readonly rest: Allowed;
  readonly from: readonly string[];
}

export const EVERYTHING: Allowed = [ANY_OPERATION];
export const NOTHING: Allowed = [];

const WILDCARD = "*";

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
export function verdictsOn(destination: string, { intentions }: ConfigEntries, isAllowedByDefault: boolean, report: ReportFinding): Verdicts {
  const exact = new Map<string, Allowed>();
  const from: string[] = [];
  for (const name of destination === WILDCARD ? [WILDCARD] : [destination, WILDCARD]) {
    const entry = intentions.get(name);
    if (entry === undefined) continue;
    from.push(entryName("service-intentions", name));
    // What the wildcard's entry cannot say is reported once, where it is asked for by itself.
    const say: ReportFinding = name === destination ? report : () => {};
    let rest: Allowed | undefined;
    entry.Sources.forEach((source, index) => {
      if (!isKnownSource(entry, index, say)) return;
      const allowed = allowedTo(entry, index, isAllowedByDefault, say);
      if (source.Name === WILDCARD) rest = allowed;
      else if (!exact.has(source.Name)) exact.set(source.Name, allowed);
    });
    if (rest !== undefined) return { exact, rest, from };
  }
  return { exact, rest: isAllowedByDefault ? EVERYTHING : NOTHING, from };
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
      say(path, `${what} cannot be said: the requests that it allows are refused`, remedy);
    }
  });
  if (isAllowedByDefault) allow(ANY_OPERATION, "");
  return allowed.some(isAny) ? EVERYTHING : allowed;
}

/** @returns `unsaid`: conditions that are left out of the operation, which so describes more requests */
function operationOf({ HTTP: http, JWT: token }: Permission): { operation: Operation; unsaid: readonly string[] } {
  const { PathExact: exact = "", PathPrefix: prefix = "", PathRegex: regex = "", Header: headers = [], Methods: methods = [] } = http ?? {};
  const path = exact === "" ? (prefix === "" || prefix === "/" ? "" : `${prefix}*`) : exact;
  // A * that is Consul's own would be a wildcard.
  const hasStar = (exact === "" ? prefix : exact).includes("*");
  const isPath = path === "" || (!hasStar && policyPathProblem(path) === undefined);
  const areMethods = methods.every((method) => policyMethodProblem(method) === undefined);
  return {
    operation: { ...ANY_OPERATION, paths: path !== "" && isPath ? [path] : [], methods: areMethods ? methods : [] },
    unsaid: [
      ...(regex === "" ? [] : ["a regular expression of the path"]),
      ...(isPath ? [] : [`the path ${path}`]),
      ...(areMethods ? [] : ["a method that is not in capital letters"]),
      ...(headers.length === 0 ? [] : ["a condition on headers"]),
      ...(token === undefined ? [] : ["a condition on tokens"]),
    ],
  };
}
