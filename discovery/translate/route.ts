import type { Any } from "@bufbuild/protobuf/wkt";
import {
  RedirectAction_RedirectResponseCode as RedirectCode,
  type RedirectActionSchema,
  type RetryPolicySchema,
  type RouteActionSchema,
  type RouteSchema,
  type WeightedCluster_ClusterWeightSchema,
} from "../../proto/gen/envoy/config/route/v3/route_components_pb.js";
import { PreviousHostsPredicateSchema } from "../../proto/gen/envoy/extensions/retry/host/previous_hosts/v3/previous_hosts_pb.js";
import type { RetryIr, RouteActionIr, RouteIr, RouteMatchIr, WeightedClusterIr } from "../ir/route.ts";
import { duration, optionalDuration } from "./duration.ts";
import { fractionalPercent } from "./fractional-percent.ts";
import { hasHeaderChanges, headerFields } from "./header-changes.ts";
import { HTTP_FILTERS } from "./http-filter/filters.ts";
import { type Init, pack, sortedByKey } from "./resource.ts";
import { routeMatch } from "./route-match.ts";
import { quoteRegex } from "./string-matcher.ts";

type RouteInit = Init<typeof RouteSchema>;
type RouteActionInit = Init<typeof RouteActionSchema>;
type Forward = Extract<RouteActionIr, { kind: "forward" }>;
type Redirect = Extract<RouteActionIr, { kind: "redirect" }>;
type Rewrite = NonNullable<Forward["rewrite"]>;

const REDIRECT_CODES = {
  301: RedirectCode.MOVED_PERMANENTLY,
  302: RedirectCode.FOUND,
  303: RedirectCode.SEE_OTHER,
  307: RedirectCode.TEMPORARY_REDIRECT,
  308: RedirectCode.PERMANENT_REDIRECT,
} as const;

/** How often another endpoint is drawn before a retry goes to one that was already tried. */
const HOST_SELECTION_ATTEMPTS = 5n;

export function translateRoute(route: RouteIr): RouteInit {
  return {
    name: route.name,
    match: routeMatch(route.match),
    action: routeAction(route.action, route.match),
    ...headerFields(route.headers),
    typedPerFilterConfig: filterSettings(route),
  };
}

/** What each HTTP filter has to do on this route. */
function filterSettings(route: RouteIr): Record<string, Any> {
  const settings = HTTP_FILTERS.flatMap((filter) => {
    const config = filter.outboundRoute?.(route);
    return config === undefined ? [] : [[filter.name, config] as const];
  });
  return sortedByKey(Object.fromEntries(settings));
}

function routeAction(action: RouteActionIr, match: RouteMatchIr): NonNullable<RouteInit["action"]> {
  switch (action.kind) {
    case "forward":
      return { case: "route", value: forward(action, match) };
    case "redirect":
      return { case: "redirect", value: redirect(action) };
    case "direct-response":
      return {
        case: "directResponse",
        value: {
          status: action.status,
          ...(action.body === "" ? {} : { body: { specifier: { case: "inlineString", value: action.body } } }),
        },
      };
  }
}

function forward(action: Forward, match: RouteMatchIr): RouteActionInit {
  return {
    clusterSpecifier: clusterSpecifier(action.clusters),
    // Alone: beside a max_stream_duration, Envoy ignores the timeout. `grpc-timeout` headers count for nothing.
    timeout: duration(action.timeoutMs),
    ...(action.retry === undefined ? {} : { retryPolicy: retryPolicy(action.retry) }),
    ...(action.rewrite === undefined ? {} : rewriteFields(action.rewrite, match)),
    requestMirrorPolicies: action.mirrors.map(({ cluster, percentage }) => ({
      cluster,
      runtimeFraction: { defaultValue: fractionalPercent(percentage) },
    })),
  };
}

function clusterSpecifier(clusters: readonly WeightedClusterIr[]): NonNullable<RouteActionInit["clusterSpecifier"]> {
  const [only, ...others] = clusters;
  if (only !== undefined && others.length === 0 && !hasHeaderChanges(only.headers)) {
    return { case: "cluster", value: only.cluster };
  }
  const taking = clusters.length === 1 ? clusters : clusters.filter(({ weight }) => weight > 0);
  return { case: "weightedClusters", value: { clusters: taking.map(weightedCluster) } };
}

function weightedCluster({ cluster, weight, headers }: WeightedClusterIr): Init<typeof WeightedCluster_ClusterWeightSchema> {
  return { name: cluster, weight, ...headerFields(headers) };
}

function retryPolicy(retry: RetryIr): Init<typeof RetryPolicySchema> {
  return {
    retryOn: retry.retryOn.join(","),
    numRetries: retry.attempts,
    perTryTimeout: optionalDuration(retry.perTryTimeoutMs),
    retriableStatusCodes: [...retry.retriableStatusCodes],
    retryHostPredicate: [
      {
        name: "envoy.retry_host_predicates.previous_hosts",
        configType: { case: "typedConfig", value: pack(PreviousHostsPredicateSchema, {}) },
      },
    ],
    hostSelectionRetryMaxAttempts: HOST_SELECTION_ATTEMPTS,
    ...(retry.backoffMs === undefined ? {} : { retryBackOff: { baseInterval: duration(retry.backoffMs) } }),
  };
}

function rewriteFields({ uri, authority }: Rewrite, match: RouteMatchIr): RouteActionInit {
  return {
    ...(uri === undefined ? {} : uriRewrite(uri, match)),
    ...(authority === undefined
      ? {}
      : { hostRewriteSpecifier: { case: "hostRewriteLiteral", value: authority } }),
  };
}

/** `/api` rewritten to `/` leaves `/x` of `/api/x`, not `//x`. */
function uriRewrite(uri: string, { path, ignorePathCase }: RouteMatchIr): RouteActionInit {
  if (path.kind === "prefix" && uri === "/" && !path.value.endsWith("/")) {
    return { regexRewrite: { pattern: { regex: `${ignorePathCase ? "(?i)" : ""}^${quoteRegex(path.value)}(/?)(.*)` }, substitution: "/\\2" } };
  }
  return { prefixRewrite: uri };
}

function redirect(action: Redirect): Init<typeof RedirectActionSchema> {
  return {
    hostRedirect: action.authority ?? "",
    portRedirect: action.port ?? 0,
    responseCode: REDIRECT_CODES[action.code],
    ...(action.scheme === undefined ? {} : { schemeRewriteSpecifier: { case: "schemeRedirect", value: action.scheme } }),
    ...(action.path === undefined ? {} : { pathRewriteSpecifier: { case: "pathRedirect", value: action.path } }),
  };
}
