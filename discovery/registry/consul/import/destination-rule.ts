import { isDeepStrictEqual } from "node:util";
import { dnsLabelProblem } from "../../../../api/name.ts";
import { type EntryOf, isDefaultPlace, type LoadBalancer, type Upstream } from "./entry.ts";
import { entryName, type ReportFinding } from "./finding.ts";
import type { ConfigEntries } from "./read-entries.ts";
import { hostOf, type ImportedResource, type ImportNames, writeDuration, writeResource } from "./resource.ts";
import { labelsOfFilter } from "./subset-filter.ts";

type Written = Record<string, unknown>;

/** What callers say of how they call one service. */
export interface UpstreamOverride {
  readonly entry: string;
  readonly path: string;
  readonly upstream: Upstream;
}

/** Every service that some caller has settings for. */
export function upstreamOverrides({ defaults }: ConfigEntries, report: ReportFinding): ReadonlyMap<string, readonly UpstreamOverride[]> {
  const found = new Map<string, UpstreamOverride[]>();
  for (const [caller, { UpstreamConfig: config }] of defaults) {
    (config?.Overrides ?? []).forEach((upstream, index) => {
      const entry = entryName("service-defaults", caller);
      const path = `UpstreamConfig.Overrides[${index}]`;
      if (upstream.Name === "" || upstream.Peer !== "" || !isDefaultPlace(upstream)) {
        report({ effect: "lost", entry, path, message: "it speaks of a service of a peer, namespace or partition", remedy: "write a DestinationRule for the name that the service has in the mesh" });
        return;
      }
      found.set(upstream.Name, [...(found.get(upstream.Name) ?? []), { entry, path, upstream }]);
    });
  }
  return found;
}

/** Subsets, and how a service is called; undefined where Consul says neither. */
export function buildDestinationRule(service: string, overrides: readonly UpstreamOverride[], entries: ConfigEntries, names: ImportNames, report: ReportFinding): ImportedResource | undefined {
  const resolver = entries.resolvers.get(service);
  const subsets = resolver === undefined ? [] : subsetsOf(resolver, report);
  const held = commonOverride(service, overrides, report);
  const connectTimeoutMs = held?.upstream.ConnectTimeoutMs || Math.max(0, resolver?.ConnectTimeout ?? 0);
  const pool = held === undefined ? {} : connectionPool(held, report);
  const tcp = { ...pool["tcp"], ...(connectTimeoutMs === 0 ? {} : { connectTimeout: writeDuration(connectTimeoutMs) }) };
  const outlierDetection = held === undefined ? undefined : outlierDetectionOf(held, report);
  const loadBalancer = resolver?.LoadBalancer === undefined ? undefined : loadBalancerOf(resolver.LoadBalancer, entryName("service-resolver", service), report);
  const trafficPolicy = notEmpty({
    loadBalancer,
    connectionPool: notEmpty({ tcp: notEmpty(tcp), http: pool["http"] }),
    outlierDetection,
  });
  if (trafficPolicy === undefined && subsets.length === 0) return undefined;
  const spec = { host: hostOf(service, names), ...(trafficPolicy === undefined ? {} : { trafficPolicy }), ...(subsets.length === 0 ? {} : { subsets }) };
  const from = [...(resolver === undefined ? [] : [entryName("service-resolver", service)]), ...(held === undefined ? [] : overrides.map(({ entry }) => entry))];
  return { resource: writeResource("DestinationRule", service, names, spec), from: [...new Set(from)] };
}

function subsetsOf(resolver: EntryOf<"service-resolver">, report: ReportFinding): Written[] {
  const entry = entryName("service-resolver", resolver.Name);
  return Object.entries(resolver.Subsets).flatMap(([name, { Filter: filter, OnlyPassing: isOnlyPassing }]) => {
    const path = `Subsets[${JSON.stringify(name)}]`;
    if (dnsLabelProblem(name) !== undefined) {
      report({ effect: "lost", entry, path, message: "its name is no subset's: requests to it fail", remedy: "give it a name of lower-case letters, digits and -" });
      return [];
    }
    const labels = labelsOfFilter(filter);
    if (!labels.ok) {
      report({ effect: "lost", entry, path: `${path}.Filter`, message: `${labels.error}: the subset is left out, and requests to it fail`, remedy: "register its instances with a meta or tag of their own, and add a subset with that label; labels are compared for equality" });
      return [];
    }
    if (isOnlyPassing) {
      report({ effect: "differs", entry, path: `${path}.OnlyPassing`, message: "instances whose checks warn get traffic as well, by their Weights.Warning", remedy: "register the instances with Weights.Warning 0" });
    }
    return [{ name, ...(Object.keys(labels.value).length === 0 ? {} : { labels: labels.value }) }];
  });
}

/** Settings that all callers share: a DestinationRule holds for every caller. */
function commonOverride(service: string, overrides: readonly UpstreamOverride[], report: ReportFinding): UpstreamOverride | undefined {
  const [first, ...others] = overrides;
  if (first === undefined) return undefined;
  const other = others.find(({ upstream }) => !isDeepStrictEqual(upstream, first.upstream));
  if (other !== undefined) {
    for (const { entry, path } of overrides) {
      report({ effect: "lost", entry, path, message: `${first.entry} and ${other.entry} call ${service} with different settings; a DestinationRule holds for every caller`, remedy: "decide on one, and write it into the DestinationRule" });
    }
    return undefined;
  }
  report({ effect: "differs", entry: first.entry, path: first.path, message: `the settings for ${service} hold for every caller, not for ${overrides.length === 1 ? "this one" : "these"} alone`, remedy: "nothing has to be done, unless another caller needs others" });
  return first;
}

function connectionPool({ entry, path, upstream }: UpstreamOverride, report: ReportFinding): { readonly tcp?: Written; readonly http?: Written } {
  const limit = (name: keyof NonNullable<Upstream["Limits"]>): number | undefined => {
    const value = upstream.Limits?.[name];
    if (value !== 0) return value;
    report({ effect: "differs", entry, path: `${path}.Limits.${name}`, message: "0 lets nothing through in Consul, and is no limit in Istio: 1 is written", remedy: "to refuse all calls, write an AuthorizationPolicy" });
    return 1;
  };
  const tcp = notEmpty({ maxConnections: limit("MaxConnections") });
  const http = notEmpty({ http1MaxPendingRequests: limit("MaxPendingRequests"), http2MaxRequests: limit("MaxConcurrentRequests") });
  return { ...(tcp === undefined ? {} : { tcp }), ...(http === undefined ? {} : { http }) };
}

function outlierDetectionOf({ entry, path, upstream }: UpstreamOverride, report: ReportFinding): Written | undefined {
  const check = upstream.PassiveHealthCheck;
  if (check === undefined) return undefined;
  const at = `${path}.PassiveHealthCheck`;
  const { EnforcingConsecutive5xx: enforcing } = check;
  if (enforcing === 0) {
    report({ effect: "differs", entry, path: `${at}.EnforcingConsecutive5xx`, message: "0 takes no endpoint away, so that nothing is written", remedy: "nothing has to be done" });
    return undefined;
  }
  if (enforcing !== undefined && enforcing !== 100) {
    report({ effect: "differs", entry, path: `${at}.EnforcingConsecutive5xx`, message: `an endpoint with too many errors is always taken away, not in ${enforcing} % of the cases`, remedy: "nothing has to be done" });
  }
  return {
    // Envoy's own defaults, which Istio's are not all.
    consecutive5xxErrors: check.MaxFailures === 0 ? 5 : check.MaxFailures,
    ...(check.Interval > 0 ? { interval: writeDuration(check.Interval) } : {}),
    ...(check.BaseEjectionTime > 0 ? { baseEjectionTime: writeDuration(check.BaseEjectionTime) } : {}),
    ...(check.MaxEjectionPercent === undefined ? {} : { maxEjectionPercent: Math.min(100, check.MaxEjectionPercent) }),
  };
}

const SIMPLE: ReadonlyMap<string, string> = new Map([["random", "RANDOM"], ["round_robin", "ROUND_ROBIN"], ["least_request", "LEAST_REQUEST"]]);

function loadBalancerOf(balancer: LoadBalancer, entry: string, report: ReportFinding): Written | undefined {
  const { Policy: policy, LeastRequestConfig: leastRequest } = balancer;
  if (policy === "") return undefined;
  const simple = SIMPLE.get(policy);
  if (simple !== undefined) {
    const choices = leastRequest?.ChoiceCount ?? 0;
    if (policy === "least_request" && choices > 0 && choices !== 2) {
      report({ effect: "differs", entry, path: "LoadBalancer.LeastRequestConfig.ChoiceCount", message: `the better of 2 endpoints is taken, not of ${choices}`, remedy: "nothing has to be done: the load is nearly as even" });
    }
    return { simple };
  }
  const hash = policy === "ring_hash" || policy === "maglev" ? consistentHash(balancer) : undefined;
  const instead = hash === undefined ? "" : `: in Istio it is loadBalancer: ${JSON.stringify({ consistentHash: hash })}`;
  report({ effect: "lost", entry, path: "LoadBalancer", message: `requests are not tied to endpoints by ${policy}; they go where the fewest are open`, remedy: `Ironmesh does not support consistentHash yet${instead}` });
  return undefined;
}

/** Istio's form of the first hash policy; it takes no more than one. */
function consistentHash({ Policy: policy, RingHashConfig: ring, HashPolicies: [first] }: LoadBalancer): Written | undefined {
  const key = first === undefined ? undefined : hashKey(first);
  if (key === undefined) return undefined;
  const size = ring?.MinimumRingSize ?? 0;
  return { ...key, ...(policy === "maglev" ? { maglev: {} } : { ringHash: size === 0 ? {} : { minimumRingSize: size } }) };
}

function hashKey({ SourceIP: isSourceIp, Field: field, FieldValue: value, CookieConfig: cookie }: LoadBalancer["HashPolicies"][number]): Written | undefined {
  if (isSourceIp) return { useSourceIp: true };
  if (field === "header") return { httpHeaderName: value };
  if (field === "query_parameter") return { httpQueryParameterName: value };
  if (field !== "cookie") return undefined;
  const ttl = cookie === undefined || cookie.TTL <= 0 ? "0s" : writeDuration(cookie.TTL);
  return { httpCookie: { name: value, ttl, ...(cookie === undefined || cookie.Path === "" ? {} : { path: cookie.Path }) } };
}

/** Without what is undefined; undefined where nothing is left. */
function notEmpty(fields: Readonly<Record<string, unknown>>): Written | undefined {
  const written = Object.entries(fields).filter(([, value]) => value !== undefined);
  return written.length === 0 ? undefined : Object.fromEntries(written);
}
