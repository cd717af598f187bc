import type { Chain, ChainRoute, Leg } from "./chain.ts";
import type { HeaderChanges, RouteDestination } from "./entry.ts";
import type { ReportFinding } from "./finding.ts";
import { httpMatch } from "./http-match.ts";
import { hostOf, type ImportedResource, type ImportNames, writeDuration, writeResource } from "./resource.ts";

/** Envoy's own, which Consul leaves in force and Istio takes away. */
const DEFAULT_TIMEOUT = "15s";

/** The VirtualService that does with calls of a service what Consul's chain does; undefined where none of its routes can be said. */
export function buildVirtualService(service: string, chain: Chain, names: ImportNames, report: ReportFinding): ImportedResource | undefined {
  const routes = chain.isHttp
    ? chain.routes.flatMap((route) => buildHttpRoute(route, names, report) ?? [])
    : chain.routes.map(({ legs }) => ({ route: legs.map((leg) => destinationOf(leg, names)) }));
  if (routes.length === 0) return undefined;
  const spec = { hosts: [hostOf(service, names)], [chain.isHttp ? "http" : "tcp"]: routes };
  return { resource: writeResource("VirtualService", service, names, spec), from: chain.from };
}

function buildHttpRoute(route: ChainRoute, names: ImportNames, report: ReportFinding): Record<string, unknown> | undefined {
  const { entry, path, destination, legs, timeoutMs } = route;
  const match = httpMatch(route.match);
  if (!match.ok) {
    report({ effect: "lost", entry, path: `${path}.Match.HTTP`, message: `${match.error}; the route is left out, and its requests go on to the routes after it`, remedy: "split it into routes that Istio's match can say" });
    return undefined;
  }
  const headers = routeHeaders(destination?.RequestHeaders, destination?.ResponseHeaders);
  const rewrite = destination?.PrefixRewrite ?? "";
  return {
    ...(match.value === undefined ? {} : { match: [match.value] }),
    route: writeLegs(legs, names),
    ...(rewrite === "" ? {} : { rewrite: { uri: rewrite } }),
    timeout: timeoutMs === 0 ? DEFAULT_TIMEOUT : timeoutMs < 0 ? "0s" : writeDuration(timeoutMs),
    retries: retriesOf(destination, entry, path, report),
    ...(headers === undefined ? {} : { headers }),
  };
}

function writeLegs(legs: readonly Leg[], names: ImportNames): Record<string, unknown>[] {
  // Percents where they are whole; Istio's weights are whole numbers of any sum.
  const unit = legs.every(({ weight }) => weight % 100 === 0) ? 100 : 1;
  return legs.map((leg) => {
    const headers = routeHeaders(leg.requestHeaders, leg.responseHeaders);
    return {
      ...destinationOf(leg, names),
      ...(legs.length === 1 ? {} : { weight: leg.weight / unit }),
      ...(headers === undefined ? {} : { headers }),
    };
  });
}

function destinationOf({ service, subset }: Leg, names: ImportNames): { readonly destination: Record<string, string> } {
  return { destination: { host: hostOf(service, names), ...(subset === "" ? {} : { subset }) } };
}

/** Always written: where nothing is, Consul retries nothing and Istio twice. */
function retriesOf(destination: RouteDestination | undefined, entry: string, path: string, report: ReportFinding): Record<string, unknown> {
  const { NumRetries: attempts = 0, RetryOnConnectFailure: onConnectFailure = false, RetryOn: conditions = [], RetryOnStatusCodes: codes = [] } = destination ?? {};
  const retryOn = [...new Set([...conditions, ...(onConnectFailure ? ["connect-failure"] : []), ...codes.map(String)])];
  if (retryOn.length === 0) {
    if (attempts > 0) {
      report({ effect: "differs", entry, path: `${path}.Destination.NumRetries`, message: "nothing says what is retried, so that Consul's proxies retry nothing; the route says so", remedy: "add RetryOn in Consul, or retryOn here, if requests shall be retried" });
    }
    return { attempts: 0 };
  }
  return { attempts: attempts === 0 ? 1 : attempts, retryOn: retryOn.join(",") };
}

function routeHeaders(request: HeaderChanges, response: HeaderChanges): Record<string, unknown> | undefined {
  const written = { ...changes("request", request), ...changes("response", response) };
  return Object.keys(written).length === 0 ? undefined : written;
}

function changes(key: string, made: HeaderChanges): Record<string, unknown> {
  if (made === undefined) return {};
  const { Add: add, Set: set, Remove: remove } = made;
  const written = {
    ...(Object.keys(set).length === 0 ? {} : { set }),
    ...(Object.keys(add).length === 0 ? {} : { add }),
    ...(remove.length === 0 ? {} : { remove }),
  };
  return Object.keys(written).length === 0 ? {} : { [key]: written };
}
