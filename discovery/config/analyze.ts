import { issueCodes, type IssueCode } from "../../api/issue-codes.ts";
import { type AnyResource, resourceKey, type ResourceKey, type ResourceOf } from "../../api/resource.ts";
import type { Issue } from "../../base/issue.ts";
import { type RootNamespace, rootNamespacesOf } from "../../model/root-namespace.ts";
import { isTakenOver, resolveHost } from "../../model/hostname.ts";
import type { Service, ServiceKey } from "../../model/service.ts";
import type { LabelCensus } from "./label-census.ts";

/** What is known of the mesh besides its configuration. */
export interface AnalysisContext {
  readonly meshDomain: string;
  readonly roots: readonly RootNamespace[];
  /** By canonical hostname or alias. */
  service(host: string): Pick<Service, "hostname" | "namespace" | "ports" | "external"> | undefined;
  /** The service that has a host which a resource declares in vain, as `NAMESPACE/NAME`. */
  otherOwner(resource: AnyResource, host: string): ServiceKey | undefined;
  readonly workloads: Pick<LabelCensus, "has">;
}

export type Findings = ReadonlyMap<ResourceKey, readonly Issue[]>;

type Destination = { readonly host: string; readonly subset?: string; readonly port?: { readonly number?: number } };
type PlacedDestination = readonly [path: string, destination: Destination];
type Add = (resource: AnyResource, code: IssueCode, path: string, message: string, remedy?: string) => void;

/**
 * Looks at all resources together for what each of them alone cannot show. Pure;
 * everything it finds is a warning, because the other half may come later. A
 * step is one resource: with many it takes a while, and others need their turn.
 */
export function* analysis(resources: readonly AnyResource[], context: AnalysisContext): Generator<void, Findings> {
  const findings = new Map<ResourceKey, Issue[]>();
  const add: Add = (resource, code, path, message, remedy) => {
    const key = resourceKey(resource);
    const issue: Issue = {
      code,
      severity: issueCodes[code].severity,
      message,
      path,
      ...(remedy === undefined ? {} : { remedy }),
      position: resource.position,
    };
    const known = findings.get(key);
    if (known === undefined) findings.set(key, [issue]);
    else known.push(issue);
  };
  const rules = sorted(resources.filter((resource) => resource.kind === "DestinationRule"));
  yield;
  const virtualServices = sorted(resources.filter((resource) => resource.kind === "VirtualService"));
  yield;
  const subsets = subsetsByHost(rules, context);
  for (const resource of virtualServices) {
    yield;
    checkHosts(resource, context, add);
    checkDestinations(resource, subsets, context, add);
  }
  for (const rule of rules) {
    yield;
    const host = resolveHost(rule.spec.host, rule.metadata.namespace, context.meshDomain);
    if (!host.includes("*") && context.service(host) === undefined) add(rule, "IM0210", "spec.host", `no service has the host ${host}`);
  }
  yield* checkRivals(virtualServices, (resource) => resource.spec.hosts ?? [], "IM0212", context, add);
  yield* checkRivals(rules, (resource) => [resource.spec.host], "IM0213", context, add);
  for (const resource of resources) {
    yield;
    checkSelector(resource, context, add);
    checkDeclared(resource, context, add);
  }
  return findings;
}

function sorted<R extends AnyResource>(resources: readonly R[]): R[] {
  const keyed = resources.map((resource) => [resourceKey(resource), resource] as const);
  return keyed.sort(([left], [right]) => (left < right ? -1 : 1)).map(([, resource]) => resource);
}

function subsetsByHost(rules: readonly ResourceOf<"DestinationRule">[], context: AnalysisContext): ReadonlyMap<string, ReadonlySet<string>> {
  const subsets = new Map<string, Set<string>>();
  for (const rule of rules) {
    const host = canonical(resolveHost(rule.spec.host, rule.metadata.namespace, context.meshDomain), context);
    const names = subsets.get(host) ?? new Set();
    for (const { name } of rule.spec.subsets ?? []) names.add(name);
    subsets.set(host, names);
  }
  return subsets;
}

function canonical(host: string, context: AnalysisContext): string {
  return context.service(host)?.hostname ?? host;
}

/** Routes stand at the services of the mesh, and nowhere else. A wildcard may mean any that comes. */
function checkHosts(resource: ResourceOf<"VirtualService">, context: AnalysisContext, add: Add): void {
  for (const [index, written] of (resource.spec.hosts ?? []).entries()) {
    const host = resolveHost(written, resource.metadata.namespace, context.meshDomain);
    if (host.includes("*") || context.service(host) !== undefined) continue;
    add(resource, "IM0210", `spec.hosts[${index}]`, `no service has the host ${host}: nothing is routed for it`, "correct the host, or add a Service or ServiceEntry");
  }
}

function checkDestinations(
  resource: ResourceOf<"VirtualService">,
  subsets: ReadonlyMap<string, ReadonlySet<string>>,
  context: AnalysisContext,
  add: Add,
): void {
  const mirrors = mirrorsOf(resource);
  for (const [path, { host }] of mirrors) {
    const service = context.service(resolveHost(host, resource.metadata.namespace, context.meshDomain));
    if (service?.external === false) {
      add(resource, "IM0216", `${path}.host`, `endpoints of ${service.hostname} that are in the mesh refuse mirrored requests`, "mirror to a ServiceEntry of location MESH_EXTERNAL");
    }
  }
  for (const [path, destination] of [...mirrors, ...destinationsOf(resource)]) {
    const host = resolveHost(destination.host, resource.metadata.namespace, context.meshDomain);
    const service = context.service(host);
    const { subset } = destination;
    const port = destination.port?.number;
    const { confinedTo } = resource;
    if (service !== undefined && confinedTo !== undefined && isTakenOver(host, service, confinedTo, context.meshDomain)) {
      add(resource, "IM0208", `${path}.host`, `${host} is a name of ${service.hostname} now, to which this one sends nobody: such requests fail`, "write it into the mesh's own configuration");
    } else if (service === undefined) {
      add(resource, "IM0210", `${path}.host`, `no service has the host ${host}`, "correct the host, or add a Service or ServiceEntry");
    } else if (port !== undefined && !service.ports.some(({ number }) => number === port)) {
      const known = service.ports.map(({ number }) => number).join(", ");
      add(resource, "IM0215", `${path}.port.number`, `${host} has no port ${port}`, `its ports: ${known}`);
    }
    if (subset !== undefined && subsets.get(canonical(host, context))?.has(subset) !== true) {
      add(resource, "IM0211", `${path}.subset`, `no DestinationRule for ${host} defines the subset ${subset}`, "add the subset to a DestinationRule");
    }
  }
}

function mirrorsOf({ spec }: ResourceOf<"VirtualService">): PlacedDestination[] {
  return (spec.http ?? []).flatMap((route, index): PlacedDestination[] => [
    ...(route.mirror === undefined ? [] : [[`spec.http[${index}].mirror`, route.mirror] as const]),
    ...(route.mirrors ?? []).map(({ destination }, at) => [`spec.http[${index}].mirrors[${at}].destination`, destination] as const),
  ]);
}

function destinationsOf({ spec }: ResourceOf<"VirtualService">): PlacedDestination[] {
  return (["http", "tcp", "tls"] as const).flatMap((protocol) =>
    (spec[protocol] ?? []).flatMap((route, index) =>
      (route.route ?? []).map(({ destination }, at) => [`spec.${protocol}[${index}].route[${at}].destination`, destination] as const),
    ),
  );
}

/**
 * Of several resources for one host, the one in the service's own namespace is
 * in force, else one in a root namespace, else the first by namespace and name,
 * of the mesh's own before those of clusters.
 */
function* checkRivals<R extends AnyResource>(
  ordered: readonly R[],
  hostsOf: (resource: R) => readonly string[],
  code: "IM0212" | "IM0213",
  context: AnalysisContext,
  add: Add,
): Generator<void, void> {
  const claims = new Map<string, Set<R>>();
  for (const resource of ordered) {
    yield;
    for (const written of new Set(hostsOf(resource))) {
      const resolved = resolveHost(written, resource.metadata.namespace, context.meshDomain);
      const host = canonical(resolved, context);
      const owner = context.service(resolved);
      const { confinedTo } = resource;
      if (confinedTo !== undefined && owner !== undefined && isTakenOver(resolved, owner, confinedTo, context.meshDomain)) {
        add(resource, "IM0208", "spec", `${resolved} is a name of ${host} now, for which this one does not speak`, "write it into the mesh's own configuration");
        continue;
      }
      const known = claims.get(host);
      if (known === undefined) claims.set(host, new Set([resource]));
      else known.add(resource);
    }
  }
  for (const [host, rivals] of claims) {
    if (rivals.size < 2) continue;
    yield;
    const own = context.service(host)?.namespace;
    const order = own === undefined ? [] : [own, ...rootNamespacesOf(own, context.roots)];
    const rank = ({ metadata, confinedTo }: R): number => (order.includes(metadata.namespace) ? order.indexOf(metadata.namespace) : order.length + Number(confinedTo !== undefined));
    const [winner, ...losers] = [...rivals].sort((left, right) => rank(left) - rank(right));
    if (winner === undefined) continue;
    const { namespace, name } = winner.metadata;
    for (const loser of losers) {
      add(loser, code, "spec", `${winner.kind} ${namespace}/${name} speaks for ${host}; this one is not in force for it`, "merge the two");
    }
  }
}

function checkDeclared(resource: AnyResource, context: AnalysisContext, add: Add): void {
  if (resource.kind !== "ServiceEntry") return;
  for (const [index, host] of (resource.spec.hosts ?? []).entries()) {
    const owner = context.otherOwner(resource, host);
    if (owner !== undefined) add(resource, "IM0217", `spec.hosts[${index}]`, `${host} belongs to ${owner}: this one is not in force for it`, "choose another host, or remove one of the two");
  }
}

function checkSelector(resource: AnyResource, context: AnalysisContext, add: Add): void {
  const selector = selectorOf(resource);
  if (selector === undefined || Object.keys(selector.labels).length === 0) return;
  const { namespace } = resource.metadata;
  const wide = selector.isPolicy ? context.roots.find((root) => root.namespace === namespace) : undefined;
  const isMeant = (workloads: string): boolean => (wide === undefined ? workloads === namespace : workloads.startsWith(wide.prefix));
  if (context.workloads.has(selector.labels, isMeant)) return;
  const labels = Object.entries(selector.labels).map(([key, value]) => `${key}=${value}`).join(", ");
  add(resource, "IM0214", selector.path, `no workload ${wide === undefined ? `of ${namespace} ` : wide.prefix === "" ? "" : `of ${wide.prefix}… `}has ${labels}`, "correct the labels, or start a workload that has them");
}

interface Selector {
  readonly path: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly isPolicy: boolean;
}

function selectorOf(resource: AnyResource): Selector | undefined {
  switch (resource.kind) {
    case "Service":
      return { path: "spec.selector", labels: resource.spec.selector ?? {}, isPolicy: false };
    case "ServiceEntry":
      return { path: "spec.workloadSelector", labels: resource.spec.workloadSelector?.labels ?? {}, isPolicy: false };
    case "PeerAuthentication":
    case "AuthorizationPolicy":
      return { path: "spec.selector", labels: resource.spec.selector?.matchLabels ?? {}, isPolicy: true };
    default:
      return undefined;
  }
}
