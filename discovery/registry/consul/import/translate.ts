import { parseDocumentValue } from "../../../../api/document.ts";
import { formatIssue, isAcceptable } from "../../../../base/issue.ts";
import { isServiceName } from "../service.ts";
import { buildPolicies, type IntentionDefault } from "./authorization.ts";
import { compileChain, isHttpProtocol, protocolOf } from "./chain.ts";
import { buildDestinationRule, upstreamOverrides } from "./destination-rule.ts";
import { entryName, type ImportFinding, reportAbout, type ReportFinding } from "./finding.ts";
import type { ConfigEntries } from "./read-entries.ts";
import { type ImportedResource, type ImportNames, selectorOf, writeResource } from "./resource.ts";
import { buildVirtualService } from "./virtual-service.ts";

export interface ImportSettings extends ImportNames {
  /** That the entries come from, where it is known. */
  readonly datacenter: string | undefined;
  readonly intentionDefault: IntentionDefault;
}

/** What a set of config entries says in Istio's words, and what of it could not be said. */
export interface Import {
  readonly resources: readonly ImportedResource[];
  readonly findings: readonly ImportFinding[];
}

/** Pure and total: every entry becomes resources, findings, or both. */
export function translateConfigEntries(entries: ConfigEntries, settings: ImportSettings): Import {
  const findings = new Map<string, ImportFinding>();
  const report: ReportFinding = (finding) => {
    // Several chains may pass through what one entry cannot say.
    const key = JSON.stringify([finding.entry, finding.path, finding.message]);
    if (!findings.has(key)) findings.set(key, finding);
  };
  for (const finding of entries.findings) report(finding);
  const overrides = upstreamOverrides(entries, report);
  const services = namesOf(entries, [...overrides.keys()], report);
  const resources: ImportedResource[] = [...meshMode(entries, settings)];
  for (const service of services) {
    const rule = buildDestinationRule(service, overrides.get(service) ?? [], entries, settings, reportAbout("DestinationRule", service, report));
    const reportRoute = reportAbout("VirtualService", service, report);
    const chain = compileChain(service, { entries, datacenter: settings.datacenter, report: reportRoute });
    const routes = chain === undefined ? undefined : buildVirtualService(service, chain, settings, reportRoute);
    if (rule !== undefined) resources.push(rule);
    if (routes !== undefined) resources.push(routes);
    resources.push(...serviceMode(service, entries, settings));
  }
  for (const service of new Set([...services, ...lookedAt(entries)])) sayProtocol(service, entries, report);
  resources.push(...buildPolicies(entries, settings.intentionDefault, settings, report));
  return { resources: withOwnNames(resources).map((one) => judge(one, report)), findings: [...findings.values()] };
}

/** Services that some entry speaks of, as far as they can be services of the mesh. */
function namesOf({ defaults, resolvers, routers, splitters }: ConfigEntries, called: readonly string[], report: ReportFinding): string[] {
  const kinds = [["service-defaults", defaults], ["service-resolver", resolvers], ["service-router", routers], ["service-splitter", splitters]] as const;
  const names = new Set([...kinds.flatMap(([, entries]) => [...entries.keys()]), ...called]);
  return [...names].sort().filter((name) => {
    if (isServiceName(name)) return true;
    const kind = kinds.find(([, entries]) => entries.has(name))?.[0] ?? "service-defaults";
    report({ effect: "lost", entry: entryName(kind, name), path: "Name", message: `${JSON.stringify(name)} cannot be the name of a service of the mesh`, remedy: "register the service under a name of letters, digits and - as well" });
    return false;
  });
}

/** Services whose intentions look at requests. */
function lookedAt({ intentions }: ConfigEntries): string[] {
  return [...intentions.values()].filter(({ Name, Sources }) => Name !== "*" && Sources.some(({ Permissions }) => Permissions.length > 0)).map(({ Name }) => Name);
}

/** Consul's proxies are told a protocol; the mesh asks the instances. */
function sayProtocol(service: string, entries: ConfigEntries, report: ReportFinding): void {
  const own = entries.defaults.get(service)?.Protocol ?? "";
  const protocol = protocolOf(service, entries);
  if (!isHttpProtocol(protocol)) return;
  report({
    effect: "todo",
    ...(own === "" ? { entry: entryName("proxy-defaults", "global"), path: "Config.protocol" } : { entry: entryName("service-defaults", service), path: "Protocol" }),
    message: `the mesh learns from its instances that ${own === "" ? "a service" : service} speaks ${protocol}; where they do not say so, it is TCP: its routes have no effect, and policies that look at requests refuse`,
    remedy: `register them with the meta protocol=${protocol}, or a tag ${protocol}`,
  });
}

const MODES = { strict: "STRICT", permissive: "PERMISSIVE" } as const;

function meshMode({ proxyDefaults }: ConfigEntries, settings: ImportSettings): ImportedResource[] {
  const mode = proxyDefaults?.MutualTLSMode ?? "";
  if (mode === "") return [];
  return [{ resource: writeResource("PeerAuthentication", "default", settings, { mtls: { mode: MODES[mode] } }), from: [entryName("proxy-defaults", "global")] }];
}

function serviceMode(service: string, { defaults }: ConfigEntries, settings: ImportSettings): ImportedResource[] {
  const mode = defaults.get(service)?.MutualTLSMode ?? "";
  if (mode === "") return [];
  const spec = { selector: selectorOf(service, settings), mtls: { mode: MODES[mode] } };
  return [{ resource: writeResource("PeerAuthentication", service, settings, spec), from: [entryName("service-defaults", service)] }];
}

/** A name that two resources of a kind would have gets a number. */
function withOwnNames(resources: readonly ImportedResource[]): ImportedResource[] {
  const taken = new Set<string>();
  return resources.map((one) => {
    const { kind, metadata } = one.resource;
    let { name } = metadata;
    for (let number = 2; taken.has(`${kind} ${name}`); number += 1) name = `${metadata.name}-${number}`;
    taken.add(`${kind} ${name}`);
    return { ...one, resource: { ...one.resource, metadata: { ...metadata, name } } };
  });
}

/** Asks the mesh what it would say to the resource. */
function judge(imported: ImportedResource, report: ReportFinding): ImportedResource {
  const { resource, from } = imported;
  const { issues } = parseDocumentValue(resource, { file: "", line: 1, column: 1 }, "import");
  const isTaken = isAcceptable(issues);
  const words = issues.map(({ position: _position, ...issue }) => formatIssue(issue));
  for (const text of words) {
    report({
      effect: isTaken ? "differs" : "lost",
      entry: from[0] ?? "",
      path: "",
      message: isTaken ? `its ${resource.kind} is taken with a warning: ${text}` : `its ${resource.kind} would be refused, and is only shown: ${text}`,
      remedy: isTaken ? "read the warning" : "mend the resource by hand",
      about: { kind: resource.kind, name: resource.metadata.name },
    });
  }
  return isTaken ? imported : { ...imported, refusal: words.join("; ") };
}
