import { durationMs } from "../../api/duration.ts";
import { grpcStatusNumber } from "../../api/grpc-status.ts";
import { faultPercentage, mirrorPercentage } from "../../api/percentage.ts";
import type { ResourceOf, Specs } from "../../api/resource.ts";
import { parseRetryOn } from "../../api/retry-on.ts";
import { stringMatch, type WrittenStringMatch } from "../../api/string-match.ts";
import { isTakenOver, resolveHost } from "../../model/hostname.ts";
import type { ServicePort } from "../../model/port.ts";
import type { Service } from "../../model/service.ts";
import type { MeshView } from "./mesh-view.ts";
import { outboundClusterName } from "./names.ts";
import {
  type CorsIr,
  type FaultIr,
  type HeaderChangesIr,
  type HeaderMatchIr,
  type HeaderOperationsIr,
  NO_HEADER_CHANGES,
  NO_HEADER_OPERATIONS,
  type RetryIr,
  type RewriteIr,
  type RouteActionIr,
  type RouteIr,
  type RouteMatchIr,
  type StringMatchIr,
} from "./route.ts";

type HttpRoute = NonNullable<Specs["VirtualService"]["http"]>[number];
type HttpMatch = NonNullable<HttpRoute["match"]>[number];
type Destination = NonNullable<NonNullable<HttpRoute["route"]>[number]["destination"]>;
type HeaderOperations = NonNullable<HttpRoute["headers"]>;
type HeaderChanges = NonNullable<HeaderOperations["request"]>;

/** Who sends callers somewhere. */
type Writer = Pick<ResourceOf<"VirtualService">, "metadata" | "confinedTo">;

/** Source: grpc.github.io/grpc/core/md_doc_statuscodes.html */
const UNKNOWN_GRPC_STATUS = 2;

/** Every path. */
const ANY_PATH: StringMatchIr = { kind: "prefix", value: "/" };

/** What Istio retries where nobody said otherwise. */
const DEFAULT_RETRY: RetryIr = {
  attempts: 2,
  retryOn: ["connect-failure", "refused-stream", "unavailable", "cancelled"],
  retriableStatusCodes: [],
};

/** A service's routes where no VirtualService speaks of it: everything to the service itself. */
export function buildDefaultRoutes(service: Service, port: ServicePort): RouteIr[] {
  return [
    {
      name: "",
      match: { path: ANY_PATH, ignorePathCase: false, headers: [], queryParams: [] },
      action: {
        kind: "forward",
        clusters: [
          { cluster: outboundClusterName(port.number, "", service.hostname), weight: 1, headers: NO_HEADER_OPERATIONS },
        ],
        timeoutMs: 0,
        retry: DEFAULT_RETRY,
        mirrors: [],
      },
      headers: NO_HEADER_OPERATIONS,
    },
  ];
}

/** The routes of a VirtualService in the table of one port, in the order in which they are tried. */
export function buildRoutes(resource: ResourceOf<"VirtualService">, port: number, view: MeshView): RouteIr[] {
  const { namespace, name } = resource.metadata;
  return (resource.spec.http ?? []).flatMap((route, index) => {
    const matches = route.match === undefined || route.match.length === 0 ? [{}] : route.match;
    const ofPort = matches.filter((match: HttpMatch) => match.port === undefined || match.port === port);
    return ofPort.map((match) => buildRoute(route, match, `VirtualService ${namespace}/${name} http[${index}]`, port, resource, view));
  });
}

/**
 * The cluster that a destination means, written by a resource, in the table of
 * `port`. There is none for a service that is not the writer's to send callers to.
 */
export function destinationCluster(destination: Destination, { metadata, confinedTo }: Writer, port: number, view: MeshView): string {
  const host = resolveHost(destination.host, metadata.namespace, view.meshDomain);
  const found = view.service(host);
  const service = found === undefined || confinedTo === undefined || !isTakenOver(host, found, confinedTo, view.meshDomain) ? found : undefined;
  const only = service?.ports.length === 1 ? service.ports[0]?.number : undefined;
  return outboundClusterName(
    destination.port?.number ?? only ?? port,
    destination.subset ?? "",
    service?.hostname ?? host,
  );
}

function buildRoute(route: HttpRoute, match: HttpMatch, name: string, port: number, writer: Writer, view: MeshView): RouteIr {
  const fault = buildFault(route.fault);
  const cors = buildCors(route.corsPolicy);
  return {
    name,
    match: buildMatch(match),
    action: buildAction(route, port, writer, view),
    headers: buildHeaders(route.headers),
    ...(fault === undefined ? {} : { fault }),
    ...(cors === undefined ? {} : { cors }),
  };
}

function buildMatch(match: HttpMatch): RouteMatchIr {
  const pseudo: [string, WrittenStringMatch | undefined][] = [
    [":method", match.method],
    [":authority", match.authority],
    [":scheme", match.scheme],
  ];
  const present = [...pseudo, ...Object.entries(match.headers ?? {})];
  const absent = Object.entries(match.withoutHeaders ?? {});
  return {
    path: match.uri === undefined ? ANY_PATH : (textMatchOf(match.uri) ?? ANY_PATH),
    ignorePathCase: match.ignoreUriCase ?? false,
    headers: [
      ...present.flatMap(([header, written]) => headerMatch(header, written, false)),
      ...absent.flatMap(([header, written]) => headerMatch(header, written, true)),
    ],
    queryParams: Object.entries(match.queryParams ?? {}).map(([param, written]) => ({
      name: param,
      match: matchOf(written),
    })),
  };
}

function headerMatch(name: string, written: WrittenStringMatch | undefined, inverted: boolean): HeaderMatchIr[] {
  if (written === undefined) return [];
  return [{ name: name.toLowerCase(), match: matchOf(written), inverted }];
}

/** `{}` asks only for presence. */
function matchOf(written: WrittenStringMatch): StringMatchIr | "present" {
  const match = stringMatch(written);
  return match.kind === "present" ? "present" : match;
}

/** For places where Istio takes no `{}`: it would match nothing. */
function textMatchOf(written: WrittenStringMatch): StringMatchIr | undefined {
  const match = matchOf(written);
  return match === "present" ? undefined : match;
}

function buildAction(route: HttpRoute, port: number, writer: Writer, view: MeshView): RouteActionIr {
  const { redirect, directResponse } = route;
  if (redirect !== undefined) {
    return {
      kind: "redirect",
      ...(redirect.authority === undefined ? {} : { authority: redirect.authority }),
      ...(redirect.uri === undefined ? {} : { path: redirect.uri }),
      ...(redirect.scheme === undefined ? {} : { scheme: redirect.scheme }),
      ...(redirect.port === undefined ? {} : { port: redirect.port }),
      code: redirectCode(redirect.redirectCode),
    };
  }
  if (directResponse !== undefined) {
    const { body } = directResponse;
    const bytes = body?.bytes === undefined ? "" : Buffer.from(body.bytes, "base64").toString("utf8");
    return { kind: "direct-response", status: directResponse.status, body: body?.string ?? bytes };
  }
  return buildForward(route, port, writer, view);
}

function buildForward(route: HttpRoute, port: number, writer: Writer, view: MeshView): RouteActionIr {
  const destinations = route.route ?? [];
  const rewrite = buildRewrite(route);
  const mirrors = [
    ...(route.mirror === undefined ? [] : [{ destination: route.mirror, percentage: route.mirrorPercentage }]),
    ...(route.mirrors ?? []).map((mirror) => ({ destination: mirror.destination, percentage: mirror.percentage })),
  ];
  const retry = buildRetry(route.retries);
  return {
    kind: "forward",
    clusters: destinations.map((destination) => ({
      cluster: destinationCluster(destination.destination, writer, port, view),
      weight: destinations.length === 1 ? 1 : (destination.weight ?? 0),
      headers: buildHeaders(destination.headers),
    })),
    timeoutMs: route.timeout === undefined ? 0 : durationMs(route.timeout),
    mirrors: mirrors.map(({ destination, percentage }) => ({
      cluster: destinationCluster(destination, writer, port, view),
      percentage: mirrorPercentage(percentage),
    })),
    ...(retry === undefined ? {} : { retry }),
    ...(rewrite === undefined ? {} : { rewrite }),
  };
}

/** Undefined where retries are switched off (`attempts: 0`). */
function buildRetry(retries: HttpRoute["retries"]): RetryIr | undefined {
  if (retries === undefined) return DEFAULT_RETRY;
  if (retries.attempts === 0) return undefined;
  const { conditions, statusCodes } = parseRetryOn(retries.retryOn ?? DEFAULT_RETRY.retryOn.join(","));
  return {
    attempts: retries.attempts ?? DEFAULT_RETRY.attempts,
    retryOn: conditions,
    retriableStatusCodes: statusCodes,
    ...(retries.perTryTimeout === undefined ? {} : { perTryTimeoutMs: durationMs(retries.perTryTimeout) }),
    ...(retries.backoff === undefined ? {} : { backoffMs: durationMs(retries.backoff) }),
  };
}

/** A `Host` header that is set is a rewrite of the authority: Envoy refuses it among the headers. */
function buildRewrite(route: HttpRoute): RewriteIr | undefined {
  const authority = route.rewrite?.authority ?? hostOf(route.headers?.request?.set);
  const uri = route.rewrite?.uri;
  if (uri === undefined && authority === undefined) return undefined;
  return { ...(uri === undefined ? {} : { uri }), ...(authority === undefined ? {} : { authority }) };
}

function isHostHeader(name: string): boolean {
  return name.toLowerCase() === "host" || name.toLowerCase() === ":authority";
}

function hostOf(set: Readonly<Record<string, string>> | undefined): string | undefined {
  return Object.entries(set ?? {}).find(([name]) => isHostHeader(name))?.[1];
}

function buildHeaders(headers: HeaderOperations | undefined): HeaderOperationsIr {
  if (headers === undefined) return NO_HEADER_OPERATIONS;
  return { request: buildHeaderChanges(headers.request), response: buildHeaderChanges(headers.response) };
}

function buildHeaderChanges(changes: HeaderChanges | undefined): HeaderChangesIr {
  if (changes === undefined) return NO_HEADER_CHANGES;
  const set = Object.entries(changes.set ?? {}).filter(([name]) => !isHostHeader(name));
  return { set: Object.fromEntries(set), add: changes.add ?? {}, remove: changes.remove ?? [] };
}

function buildFault(fault: HttpRoute["fault"]): FaultIr | undefined {
  if (fault === undefined) return undefined;
  const { delay, abort } = fault;
  return {
    ...(delay?.fixedDelay === undefined
      ? {}
      : { delay: { fixedDelayMs: durationMs(delay.fixedDelay), percentage: faultPercentage(delay.percentage) } }),
    ...(abort === undefined ? {} : { abort: buildAbort(abort) }),
  };
}

function buildAbort(abort: { httpStatus?: number; grpcStatus?: string; percentage?: { value?: number } }): NonNullable<FaultIr["abort"]> {
  const percentage = faultPercentage(abort.percentage);
  if (abort.grpcStatus !== undefined) return { percentage, grpcStatus: grpcStatusNumber(abort.grpcStatus) ?? UNKNOWN_GRPC_STATUS };
  return { percentage, httpStatus: abort.httpStatus ?? 503 };
}

function buildCors(cors: HttpRoute["corsPolicy"]): CorsIr | undefined {
  if (cors === undefined) return undefined;
  return {
    allowOrigins: [
      ...(cors.allowOrigins ?? []).flatMap((origin) => textMatchOf(origin) ?? []),
      ...(cors.allowOrigin ?? []).map((value) => ({ kind: "exact" as const, value })),
    ],
    allowMethods: cors.allowMethods ?? [],
    allowHeaders: cors.allowHeaders ?? [],
    exposeHeaders: cors.exposeHeaders ?? [],
    ...(cors.maxAge === undefined ? {} : { maxAgeSeconds: Math.floor(durationMs(cors.maxAge) / 1_000) }),
    ...(cors.allowCredentials === undefined ? {} : { allowCredentials: cors.allowCredentials }),
  };
}

function redirectCode(code: number | undefined): 301 | 302 | 303 | 307 | 308 {
  return code === 302 || code === 303 || code === 307 || code === 308 ? code : 301;
}
