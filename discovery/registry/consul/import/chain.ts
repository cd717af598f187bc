import { type HeaderChanges, isDefaultPlace, type Place, type RouteDestination, type RouteMatch } from "./entry.ts";
import { entryName, type ImportFinding, type ReportFinding } from "./finding.ts";
import type { ConfigEntries } from "./read-entries.ts";

/** Where a part of the requests goes in the end. */
export interface Leg {
  readonly service: string;
  /** Empty for all of its instances. */
  readonly subset: string;
  /** In hundredths of a percent, as exact as Consul is. */
  readonly weight: number;
  readonly requestHeaders: HeaderChanges;
  readonly responseHeaders: HeaderChanges;
}

export interface ChainRoute {
  /** Which entry it comes from, and where it stands there. */
  readonly entry: string;
  readonly path: string;
  readonly match?: RouteMatch | undefined;
  readonly destination?: RouteDestination | undefined;
  readonly legs: readonly Leg[];
  /** In milliseconds; negative: none; 0: nobody said. */
  readonly timeoutMs: number;
}

/** What happens to calls of one service: Consul's discovery chain, flattened. */
export interface Chain {
  readonly isHttp: boolean;
  /** In the order in which they are tried; the last one takes what is left, unless it could not be said. */
  readonly routes: readonly ChainRoute[];
  /** Entries that took part. */
  readonly from: readonly string[];
}

export interface ChainContext {
  readonly entries: ConfigEntries;
  /** That the entries come from, where it is known. */
  readonly datacenter: string | undefined;
  readonly report: ReportFinding;
}

type Failed = { readonly problem: Omit<ImportFinding, "effect"> };
type Target = { readonly service: string; readonly subset: string };

/** Nobody writes so many by hand; splitters that lead to each other multiply. */
const MAX_LEGS = 500;
const MAX_WEIGHT = 10_000;
const HTTP_PROTOCOLS: readonly string[] = ["http", "http2", "grpc"];

/** The protocol that Consul's proxies speak with a service. */
export function protocolOf(service: string, { defaults, proxyDefaults }: ConfigEntries): string {
  const own = defaults.get(service)?.Protocol ?? "";
  const general = proxyDefaults?.Config["protocol"];
  return (own === "" && typeof general === "string" ? general : own).toLowerCase() || "tcp";
}

export function isHttpProtocol(protocol: string): boolean {
  return HTTP_PROTOCOLS.includes(protocol);
}

/**
 * The chain of a service; undefined where calls simply go to the service itself.
 * The rules are Consul's: only the router of the called service counts, then the
 * splitter of what a route leads to, unless that is a subset, then resolvers.
 * Source: developer.hashicorp.com/consul/docs/manage-traffic/discovery-chain
 */
export function compileChain(service: string, context: ChainContext): Chain | undefined {
  const { entries, report } = context;
  const protocol = protocolOf(service, entries);
  const isHttp = isHttpProtocol(protocol);
  const from = new Set<string>();
  const router = entries.routers.get(service);
  const routes: ChainRoute[] = [];

  const add = (route: Omit<ChainRoute, "legs">, legs: readonly Leg[] | Failed, otherwise: string): void => {
    if (!("problem" in legs)) routes.push({ ...route, legs });
    else report({ effect: "lost", ...legs.problem, message: `${legs.problem.message}; ${otherwise}` });
  };

  if (!isHttp) {
    for (const [kind, found] of [["service-router", router], ["service-splitter", entries.splitters.get(service)]] as const) {
      if (found !== undefined) {
        report({ effect: "lost", entry: entryName(kind, service), path: "", message: `has no effect in Consul, because ${service} speaks ${protocol}`, remedy: "correct the Protocol of its service-defaults, or leave the entry" });
      }
    }
    const target = resolve({ service, subset: "" }, context, from);
    if ("problem" in target) report({ effect: "lost", ...target.problem, message: `${target.problem.message}; calls of ${service} go to ${service} itself` });
    if ("problem" in target || isItself(target, service)) return undefined;
    return { isHttp, routes: [{ entry: entryName("service-resolver", service), path: "", legs: [wholeLeg(target)], timeoutMs: 0 }], from: [...from] };
  }

  if (router !== undefined) {
    const entry = entryName("service-router", service);
    from.add(entry);
    router.Routes.forEach(({ Match: match, Destination: destination }, index) => {
      const path = `Routes[${index}]`;
      const to = destination?.Service === undefined || destination.Service === "" ? service : destination.Service;
      const legs = destination !== undefined && !isDefaultPlace(destination)
        ? elsewhere(entry, `${path}.Destination`, destination)
        : legsOf({ service: to, subset: destination?.ServiceSubset ?? "" }, context, from);
      add({ entry, path, match: match?.HTTP, destination, timeoutMs: destination?.RequestTimeout ?? 0 }, legs, `${entry} ${path} is left out, and its requests go on to the routes after it`);
    });
  }

  const hasSplitter = entries.splitters.has(service);
  const rest = legsOf({ service, subset: "" }, context, from);
  // Consul applies a resolver's timeout only where neither a router nor a splitter comes before it.
  const resolver = entries.resolvers.get(service);
  if ((resolver?.RequestTimeout ?? 0) !== 0 && (router !== undefined || hasSplitter)) {
    report({ effect: "differs", entry: entryName("service-resolver", service), path: "RequestTimeout", message: `Consul does not apply it behind a router or splitter, and neither do the routes of ${service}`, remedy: "write it into the routes, if it is meant" });
  }
  const isResolved = router === undefined && !hasSplitter && !("problem" in rest);
  const timeoutMs = isResolved ? (entries.resolvers.get(rest[0]?.service ?? "")?.RequestTimeout ?? 0) : 0;
  if (isResolved && timeoutMs === 0 && rest.every((leg) => isItself(leg, service))) return undefined;
  const entry = entryName(hasSplitter ? "service-splitter" : router === undefined ? "service-resolver" : "service-router", service);
  const otherwise = routes.length === 0 ? `calls of ${service} go to ${service} itself` : "requests that no route before takes are answered 404";
  add({ entry, path: "", timeoutMs }, rest, otherwise);
  return routes.length === 0 ? undefined : { isHttp, routes, from: [...from] };
}

function isItself({ service, subset }: Target, called: string): boolean {
  return service === called && subset === "";
}

function wholeLeg(target: Target): Leg {
  return { ...target, weight: MAX_WEIGHT, requestHeaders: undefined, responseHeaders: undefined };
}

function legsOf(target: Target, context: ChainContext, from: Set<string>): readonly Leg[] | Failed {
  if (target.subset === "" && context.entries.splitters.has(target.service)) return split(target.service, [], context, from);
  const resolved = resolve(target, context, from);
  return "problem" in resolved ? resolved : [wholeLeg(resolved)];
}

/** @param above the splitters that lead here */
function split(service: string, above: readonly string[], context: ChainContext, from: Set<string>): readonly Leg[] | Failed {
  const entry = entryName("service-splitter", service);
  if (above.includes(service)) {
    return { problem: { entry, path: "Splits", message: `splitters lead in a circle: ${[...above, service].join(" -> ")}`, remedy: "let one of them name a subset, or another service" } };
  }
  from.add(entry);
  const legs: Leg[] = [];
  for (const [index, one] of (context.entries.splitters.get(service)?.Splits ?? []).entries()) {
    const path = `Splits[${index}]`;
    if (!isDefaultPlace(one)) return elsewhere(entry, path, one);
    const to = one.Service === "" ? service : one.Service;
    const weight = Math.round(one.Weight * 100);
    const isSplitAgain = one.ServiceSubset === "" && to !== service && context.entries.splitters.has(to);
    const inner = isSplitAgain ? split(to, [...above, service], context, from) : resolve({ service: to, subset: one.ServiceSubset }, context, from);
    if ("problem" in inner) return inner;
    for (const leg of "service" in inner ? [wholeLeg(inner)] : inner) {
      legs.push({
        ...leg,
        weight: Math.round((weight * leg.weight) / MAX_WEIGHT),
        requestHeaders: mergeHeaders(one.RequestHeaders, leg.requestHeaders),
        // A response meets the inner splitter first, so that the outer one has the last word.
        responseHeaders: mergeHeaders(leg.responseHeaders, one.ResponseHeaders),
      });
    }
    if (legs.length > MAX_LEGS) return { problem: { entry, path: "Splits", message: `splits requests more than ${MAX_LEGS} ways`, remedy: "split fewer ways" } };
  }
  return legs;
}

/** Follows redirects and default subsets. */
function resolve(asked: Target, context: ChainContext, from: Set<string>): Target | Failed {
  let { service, subset } = asked;
  const seen: string[] = [];
  for (;;) {
    const entry = entryName("service-resolver", service);
    const place = `${service}/${subset}`;
    if (seen.includes(place)) {
      return { problem: { entry, path: "Redirect", message: `redirects lead in a circle: ${[...seen, place].join(" -> ")}`, remedy: "let one of them lead out" } };
    }
    seen.push(place);
    const resolver = context.entries.resolvers.get(service);
    if (resolver === undefined) break;
    from.add(entry);
    const { Redirect: redirect, DefaultSubset: defaultSubset } = resolver;
    if (redirect !== undefined) {
      const { Peer: peer, SamenessGroup: group, Datacenter: datacenter } = redirect;
      if (!isDefaultPlace(redirect)) return elsewhere(entry, "Redirect", redirect);
      if (peer !== "" || group !== "") {
        return { problem: { entry, path: "Redirect", message: `it redirects to ${peer === "" ? `the sameness group ${group}` : `the peer ${peer}`}`, remedy: "read the other Consul as a registry, and redirect to the name that its service has in the mesh" } };
      }
      if (datacenter !== "" && datacenter !== context.datacenter) {
        return { problem: { entry, path: "Redirect.Datacenter", message: `it redirects to the datacenter ${datacenter}`, remedy: "read that datacenter as a registry with a namespace of its own, and redirect to the name that the service has there" } };
      }
      const next = redirect.Service === "" ? service : redirect.Service;
      const nextSubset = redirect.ServiceSubset === "" ? (next === service ? subset : "") : redirect.ServiceSubset;
      if (next !== service || nextSubset !== subset) {
        [service, subset] = [next, nextSubset];
        continue;
      }
    }
    if (subset === "" && defaultSubset !== "") {
      subset = defaultSubset;
      continue;
    }
    break;
  }
  if (subset !== "" && !Object.hasOwn(context.entries.resolvers.get(service)?.Subsets ?? {}, subset)) {
    return { problem: { entry: entryName("service-resolver", service), path: "Subsets", message: `${service} has no subset ${subset}`, remedy: "correct the name of the subset" } };
  }
  return { service, subset };
}

function elsewhere(entry: string, path: string, { Namespace, Partition }: Place): Failed {
  const where = [Partition, Namespace].filter((part) => part !== "").join("/");
  return { problem: { entry, path, message: `it leads to the namespace or partition ${where}`, remedy: "import that namespace by itself, and write the route by hand" } };
}

/** The second one holds where both speak of a header; also of several that are added, as in Consul. */
function mergeHeaders(first: HeaderChanges, second: HeaderChanges): HeaderChanges {
  if (first === undefined || second === undefined) return first ?? second;
  return {
    Add: { ...first.Add, ...second.Add },
    Set: { ...first.Set, ...second.Set },
    Remove: [...new Set([...first.Remove, ...second.Remove])],
  };
}
