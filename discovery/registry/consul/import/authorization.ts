import { dnsLabelProblem } from "../../../../api/name.ts";
import { entryName, type ReportFinding } from "./finding.ts";
import { type Allowed, EVERYTHING, isEverything, type Verdicts, verdictsOn } from "./intentions.ts";
import { MAX_OPERATIONS, subtractAll, writeOperation } from "./operations.ts";
import { type ConfigEntries, EVERYWHERE } from "./read-entries.ts";
import { type ImportedResource, type ImportNames, selectorOf, writeResource } from "./resource.ts";

type Written = Record<string, unknown>;

interface PolicyContext {
  readonly names: ImportNames;
  readonly report: ReportFinding;
  /** Says once that a service cannot have an identity. */
  readonly sayUnknown: (service: string, from: readonly string[]) => void;
}

/** What Consul does with calls that no intention speaks of; undefined where nobody told. */
export type IntentionDefault = "allow" | "deny" | undefined;

/**
 * The policies that let in whom Consul's intentions let in. Consul decides by
 * the first intention that matches; Istio's policies add up, and DENY wins. So
 * each destination gets an ALLOW policy of all that is allowed, and a DENY
 * policy of what the policy of the whole namespace allows besides.
 */
export function buildPolicies(entries: ConfigEntries, standard: IntentionDefault, names: ImportNames, report: ReportFinding): ImportedResource[] {
  const { intentions } = entries;
  // Who has no intentions has no mesh of Consul's, whatever its ACLs do by default.
  if (intentions.size === 0) {
    if (standard === "deny") report({ effect: "todo", entry: "service-intentions", path: "", message: "there is none, and Consul denies by default: where its services are a mesh, none of them may call another, and no policy says so here", remedy: "write an AuthorizationPolicy without rules for the namespace, if that is meant" });
    return [];
  }
  const isAllowedByDefault = standard === "allow";
  const context: PolicyContext = { names, report, sayUnknown: sayOnce(report) };
  const hasGeneral = intentions.has("*") || intentions.has(EVERYWHERE);
  const general = hasGeneral || standard === "deny" ? verdictsOn("*", entries, isAllowedByDefault, report) : undefined;
  // Who is let in anyway needs no policy.
  const isOpen = general === undefined || (!general.isRestLocal && isEverything(general.rest) && [...general.exact.values()].every(isEverything));
  const generalVerdicts = isOpen ? undefined : general;
  const destinations = [...intentions.keys()].filter((name) => name !== "*" && name !== EVERYWHERE).sort();
  if (standard === undefined) {
    const entry = entryName("service-intentions", hasGeneral ? "*" : (destinations[0] ?? ""));
    report({ effect: "todo", entry, path: "", message: "what Consul does without an intention is not known here; deny is taken in the policies that are written, and services without intentions get none", remedy: "give --intention-default, as acl.default_policy or default_intention_policy say" });
  }
  return [
    ...(generalVerdicts === undefined ? [] : [policy("consul-intentions", undefined, "ALLOW", allowRules(generalVerdicts, context), generalVerdicts.from, names)]),
    ...destinations.flatMap((destination) => policiesOf(destination, verdictsOn(destination, entries, isAllowedByDefault, report), generalVerdicts, context)),
  ];
}

function policiesOf(destination: string, verdicts: Verdicts, general: Verdicts | undefined, context: PolicyContext): ImportedResource[] {
  const denied = general === undefined ? [] : denyRules(destination, verdicts, general, context);
  const { from } = verdicts;
  const { names, report } = context;
  // Consul 1.22 finds config entries so; two that differ in nothing else are one.
  if (destination !== destination.toLowerCase()) {
    report({ effect: "todo", entry: entryName("service-intentions", destination), path: "Name", message: `Consul takes the intentions of ${destination} for that service however its capital letters are written, and the policies for workloads whose label ${names.serviceLabel} is just that`, remedy: "where workloads have another spelling, change it in the policies" });
  }
  return [
    policy(destination, destination, "ALLOW", allowRules(verdicts, context), from, names),
    ...(denied.length === 0 ? [] : [policy(`${destination}-deny`, destination, "DENY", denied, from, names)]),
  ];
}

function policy(name: string, destination: string | undefined, action: "ALLOW" | "DENY", rules: readonly Written[], from: readonly string[], names: ImportNames): ImportedResource {
  const spec = {
    ...(destination === undefined ? {} : { selector: selectorOf(destination, names) }),
    action,
    // Without a rule it lets nobody in.
    ...(rules.length === 0 ? {} : { rules }),
  };
  return { resource: writeResource("AuthorizationPolicy", name, names, spec), from };
}

function allowRules({ exact, rest, isRestLocal, from }: Verdicts, context: PolicyContext): Written[] {
  const rules: Written[] = [];
  const free: string[] = [];
  for (const [service, allowed] of exact) {
    const principal = principalOf(service, from, context);
    if (principal === undefined || allowed.length === 0) continue;
    if (isEverything(allowed)) free.push(principal);
    else rules.push(rule({ principals: [principal] }, allowed));
  }
  if (rest.length > 0) {
    // Others than those who have a verdict of their own; but those who may do everything need not be told apart.
    const others = [...exact].filter(([, allowed]) => !isEverything(allowed)).flatMap(([service]) => principalOf(service, from, context) ?? []);
    rules.push(rule({ principals: [isRestLocal ? namespacePrincipals(context.names) : "*"], ...(others.length === 0 ? {} : { notPrincipals: others }) }, rest));
    if (isEverything(rest)) return rules;
  }
  return free.length === 0 ? rules : [rule({ principals: free }, EVERYTHING), ...rules];
}

/** Takes away what `general` lets in and `verdicts` does not. */
function denyRules(destination: string, verdicts: Verdicts, general: Verdicts, context: PolicyContext): Written[] {
  const surplus = (letIn: Allowed, allowed: Allowed): Allowed => {
    const left = subtractAll(letIn, allowed);
    if (left !== undefined) return left;
    const entry = entryName("service-intentions", destination);
    context.report({ effect: "lost", entry, path: "Sources", message: `what the intentions of * allow besides takes more than ${MAX_OPERATIONS} operations: all of it is refused, and with it some that is allowed`, remedy: "give the destination an intention for *, so that those of * do not count" });
    return EVERYTHING;
  };
  const rules: Written[] = [];
  const refused: string[] = [];
  const known = new Map([...verdicts.exact.keys()].map((service) => [service, principalOf(service, verdicts.from, context)] as const));
  for (const [service, principal] of known) {
    const left = surplus(general.exact.get(service) ?? general.rest, verdicts.exact.get(service) ?? []);
    if (principal === undefined || left.length === 0) continue;
    if (isEverything(left)) refused.push(principal);
    else rules.push(rule({ principals: [principal] }, left));
  }
  const letIn = [...[...general.exact].filter(([service]) => !known.has(service)).flatMap(([, allowed]) => allowed), ...general.rest];
  const left = surplus(letIn, verdicts.rest);
  if (left.length > 0) {
    const others = [...known.values()].filter((principal) => principal !== undefined);
    rules.push(rule(others.length === 0 ? { principals: ["*"] } : { notPrincipals: others }, left));
  }
  const isWider = verdicts.isRestLocal && !general.isRestLocal && general.rest.length > 0;
  if (isWider) rules.push(rule({ notPrincipals: [namespacePrincipals(context.names)] }, general.rest));
  return refused.length === 0 ? rules : [rule({ principals: refused }, EVERYTHING), ...rules];
}

function rule(source: Written, allowed: Allowed): Written {
  return {
    from: [{ source }],
    ...(isEverything(allowed) ? {} : { to: allowed.map((operation) => ({ operation: writeOperation(operation) })) }),
  };
}

/** All services of Consul's, by the documented assumption that they run in the namespace. */
function namespacePrincipals({ trustDomain, namespace }: ImportNames): string {
  return `${trustDomain}/ns/${namespace}/sa/*`;
}

/** The identity that workloads of a service have, by the documented assumption that it has a service account of its own name. */
function principalOf(service: string, from: readonly string[], { names: { trustDomain, namespace }, sayUnknown }: PolicyContext): string | undefined {
  if (dnsLabelProblem(service) === undefined) return `${trustDomain}/ns/${namespace}/sa/${service}`;
  sayUnknown(service, from);
  return undefined;
}

function sayOnce(report: ReportFinding): PolicyContext["sayUnknown"] {
  const said = new Set<string>();
  return (service, from) => {
    if (said.has(service)) return;
    said.add(service);
    report({ effect: "lost", entry: from[0] ?? "", path: "Sources", message: `${service} cannot be the name of a service account: it is as if it was not a source`, remedy: "add the principal that it has in the mesh by hand" });
  };
}
