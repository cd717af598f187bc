import { issueCodes, type IssueCode } from "../../../api/issue-codes.ts";
import type { AnyResource, ResourceOf } from "../../../api/resource.ts";
import { isAcceptable, type Issue } from "../../../base/issue.ts";
import { isOwnToEachHost } from "../../../model/address.ts";
import { hostMatches, isNameWithin, resolveHost } from "../../../model/hostname.ts";

/** What a cluster may speak of. */
export interface ClusterAuthority {
  readonly namespacePrefix: string;
  readonly meshDomain: string;
  /** Hosts, wildcards too, that it may speak of besides its own services. */
  readonly resourceHosts: readonly string[];
}

type Placed = readonly [path: string, written: string];

/**
 * What a resource of a cluster says about what is not the cluster's, in the
 * mesh's names. Whoever may write to one cluster must not route, name or admit
 * what belongs to others.
 */
export function judgeAuthority(resource: AnyResource, authority: ClusterAuthority): Issue[] {
  const issues: Issue[] = [];
  const add = (code: IssueCode, path: string, message: string, remedy: string): void => {
    issues.push({ code, severity: issueCodes[code].severity, message, path, remedy, position: resource.position });
  };
  const { namespace } = resource.metadata;
  for (const [path, host] of hostsOf(resource)) {
    const resolved = resolveHost(host, namespace, authority.meshDomain);
    if (isOwn(resolved, authority)) continue;
    add("IM0206", path, `${host} is no service of the cluster`, "write NAME.NAMESPACE.svc and the cluster's domain, or allow the host by resourceHosts of the registry");
  }
  for (const [path, address] of addressesOf(resource)) {
    if (isOwnToEachHost(address)) add("IM0206", path, `${address} is another place on each host of the mesh`, "write an address that all of them reach");
  }
  if (resource.kind === "ServiceEntry") {
    for (const [index, address] of (resource.spec.addresses ?? []).entries()) {
      add("IM0206", `spec.addresses[${index}]`, `${address} would be taken from whoever has it in the mesh`, "remove it, or write the ServiceEntry into the mesh's own configuration");
    }
  }
  if (resource.kind === "AuthorizationPolicy") {
    for (const [path, pattern] of callersOf(resource)) {
      if (pattern === "*" || !pattern.startsWith("*")) continue;
      add("IM0206", path, `${JSON.stringify(pattern)} would mean callers of other namespaces than the cluster's too`, "write the beginning instead of the end, or the whole");
    }
  }
  return issues;
}

/** Whether a cluster may still say what it was allowed to say once. */
export function isStillAllowed(resource: AnyResource, authority: ClusterAuthority): boolean {
  return resource.confinedTo === authority.namespacePrefix && isAcceptable(judgeAuthority(resource, authority));
}

/** Its services; a wildcard has to lie in one of its namespaces as a whole. */
function isOwn(host: string, { namespacePrefix, meshDomain, resourceHosts }: ClusterAuthority): boolean {
  return isNameWithin(host, namespacePrefix, meshDomain) || resourceHosts.some((allowed) => hostMatches(allowed, host));
}

function hostsOf(resource: AnyResource): Placed[] {
  switch (resource.kind) {
    case "VirtualService":
      return routedHosts(resource.spec);
    case "DestinationRule":
      return [["spec.host", resource.spec.host]];
    case "ServiceEntry":
      return (resource.spec.hosts ?? []).map((host, index) => [`spec.hosts[${index}]`, host]);
    default:
      return [];
  }
}

/** Those that it speaks for, and those that it sends callers to, who go there under their own identity. */
function routedHosts(spec: ResourceOf<"VirtualService">["spec"]): Placed[] {
  return [
    ...(spec.hosts ?? []).map((host, index): Placed => [`spec.hosts[${index}]`, host]),
    ...(["http", "tcp", "tls"] as const).flatMap((protocol) =>
      (spec[protocol] ?? []).flatMap((route, at) => (route.route ?? []).map(({ destination }, index): Placed => [`spec.${protocol}[${at}].route[${index}].destination.host`, destination.host])),
    ),
    ...(spec.http ?? []).flatMap(({ mirror, mirrors = [] }, at): Placed[] => [
      ...(mirror === undefined ? [] : [[`spec.http[${at}].mirror.host`, mirror.host] as const]),
      ...mirrors.map(({ destination }, index): Placed => [`spec.http[${at}].mirrors[${index}].destination.host`, destination.host]),
    ]),
  ];
}

function addressesOf(resource: AnyResource): Placed[] {
  if (resource.kind === "WorkloadEntry") return [["spec.address", resource.spec.address ?? ""]];
  if (resource.kind !== "ServiceEntry") return [];
  return (resource.spec.endpoints ?? []).map(({ address = "" }, index) => [`spec.endpoints[${index}].address`, address]);
}

function callersOf({ spec }: ResourceOf<"AuthorizationPolicy">): Placed[] {
  return (spec.rules ?? []).flatMap(({ from = [] }, rule) =>
    from.flatMap(({ source = {} }, at) =>
      (["namespaces", "notNamespaces", "principals", "notPrincipals"] as const).flatMap((field) =>
        (source[field] ?? []).map((pattern, index): Placed => [`spec.rules[${rule}].from[${at}].source.${field}[${index}]`, pattern]),
      ),
    ),
  );
}
