import { hostMatches } from "../model/hostname.ts";
import { grpcStatusProblem } from "./grpc-status.ts";
import { destinationHeaders, routeHeaders } from "./header.ts";
import { percentage } from "./percentage.ts";
import { retryOnProblem } from "./retry-on.ts";
import { exclusive, fieldOf, hasField, itemsOf, needs, noEffect, uniqueIn, weights } from "./rules.ts";
import { choice, flag, ignored, integer, list, notYet, object, required, text, type ObjectRule } from "./schema.ts";
import { headerMatches, match, queryMatches } from "./string-match.ts";
import { anyText, dnsLabel, duration, durationOrZero, exportTo, headerText, host, meshGateway, method, portNumber, textProblem, wildcardHost, words } from "./text.ts";

/** Envoy's default limit for the body of a direct response. */
const MAX_BODY_BYTES = 4_096;
const WEIGHT_MAX = 2_147_483_647;

const destination = object({
  host: required(host),
  subset: dnsLabel,
  port: object({ number: required(portNumber) }),
});

const httpMatch = object(
  {
    name: anyText,
    uri: match,
    scheme: match,
    method: match,
    authority: match,
    headers: headerMatches,
    withoutHeaders: headerMatches,
    queryParams: queryMatches,
    port: portNumber,
    ignoreUriCase: flag,
    gateways: list(meshGateway),
    sourceLabels: notYet(),
    sourceNamespace: notYet(),
    statPrefix: ignored(),
  },
  (value, path, report) => {
    if (value["ignoreUriCase"] === true && !hasField(value, "uri")) noEffect([...path, "ignoreUriCase"], "there is no uri to match", report);
  },
);

const retries = object(
  {
    attempts: integer(0, 1_000),
    perTryTimeout: duration,
    retryOn: text("Envoy's retry conditions and status codes", retryOnProblem),
    backoff: duration,
    retryRemoteLocalities: ignored(),
    retryIgnorePreviousHosts: ignored(),
  },
  (value, path, report) => {
    if (value["attempts"] !== 0) return;
    for (const name of ["perTryTimeout", "retryOn", "backoff"]) {
      if (hasField(value, name)) noEffect([...path, name], "attempts: 0 switches retries off", report);
    }
  },
);

const isRare: ObjectRule = (value, path, report) => {
  if (!hasField(value, "percentage")) noEffect(path, "without a percentage it hits no request", report, "add percentage: {value: 100}");
};

const delay = object(
  {
    fixedDelay: required(duration),
    percentage,
    percent: notYet("use percentage: {value: …}"),
    exponentialDelay: notYet("use fixedDelay"),
  },
  isRare,
);

const abort = object(
  {
    httpStatus: integer(200, 599),
    grpcStatus: text("gRPC status", grpcStatusProblem),
    percentage,
    http2Error: notYet("use httpStatus or grpcStatus"),
  },
  exclusive(["httpStatus", "grpcStatus"], { isRequired: true }),
  isRare,
);

const redirect = object(
  {
    uri: headerText,
    authority: headerText,
    port: portNumber,
    scheme: choice(["http", "https"]),
    redirectCode: integer(301, 308),
    derivePort: notYet("use port"),
  },
  (value, path, report) => {
    const code = value["redirectCode"] ?? 301;
    if (typeof code === "number" && ![301, 302, 303, 307, 308].includes(code)) {
      report({ code: "IM0121", path: [...path, "redirectCode"], message: `${code} is no redirect`, remedy: "use 301, 302, 303, 307 or 308" });
    }
    if (Object.keys(value).length === 0) report({ code: "IM0112", path, message: "needs one of uri, authority, scheme, port" });
  },
);

const body = object(
  {
    string: text("text", (value) => tooLong(Buffer.byteLength(value))),
    bytes: text("base64", (value) => {
      const isBase64 = /^[A-Za-z0-9+/]*={0,2}$/.test(value) && value.length % 4 === 0;
      return isBase64 ? tooLong((value.length * 3) / 4) : { code: "IM0128", message: "is not base64" };
    }),
  },
  exclusive(["string", "bytes"], { isRequired: true }),
);

function tooLong(bytes: number): ReturnType<typeof textProblem> {
  return bytes <= MAX_BODY_BYTES ? undefined : { code: "IM0121", message: `the body is larger than ${MAX_BODY_BYTES} bytes` };
}

const corsPolicy = object({
  allowOrigins: list(match),
  allowOrigin: list(words),
  allowMethods: list(method),
  allowHeaders: list(text("header name", textProblem)),
  exposeHeaders: list(text("header name", textProblem)),
  maxAge: durationOrZero,
  allowCredentials: flag,
  unmatchedPreflights: notYet(),
});

/** What a route that answers by itself cannot have. */
const needsForwarding: ObjectRule = (value, path, report) => {
  const answer = ["redirect", "directResponse"].find((name) => hasField(value, name));
  if (answer === undefined) return;
  for (const name of ["rewrite", "timeout", "retries", "mirror", "mirrors"]) {
    if (hasField(value, name)) {
      report({ code: "IM0130", path: [...path, name], atKey: true, message: `${name} and ${answer} exclude each other`, remedy: `remove ${name}` });
    }
  }
};

const httpRoute = object(
  {
    name: anyText,
    match: list(httpMatch),
    route: list(object({ destination: required(destination), weight: integer(0, WEIGHT_MAX), headers: destinationHeaders })),
    redirect,
    directResponse: object({ status: required(integer(200, 599)), body }),
    timeout: durationOrZero,
    retries,
    fault: object({ delay, abort }),
    rewrite: object({ uri: headerText, authority: headerText, uriRegexRewrite: notYet() }),
    headers: routeHeaders,
    mirror: destination,
    mirrorPercentage: percentage,
    mirrors: list(object({ destination: required(destination), percentage })),
    corsPolicy,
    delegate: notYet("write the routes into this VirtualService"),
    mirrorPercent: notYet("use mirrorPercentage: {value: …}"),
    mirror_percent: notYet("use mirrorPercentage: {value: …}"),
  },
  exclusive(["route", "redirect", "directResponse"], { isRequired: true }),
  exclusive(["mirror", "mirrors"], { isRequired: false }),
  needs("mirrorPercentage", "mirror"),
  needsForwarding,
  weights,
);

const l4Destination = object({ destination: required(destination), weight: integer(0, WEIGHT_MAX) });
const l4Unsupported = { destinationSubnets: notYet(), sourceLabels: notYet(), sourceNamespace: notYet() };

const tcpRoute = object(
  {
    match: list(object({ port: portNumber, gateways: list(meshGateway), sourceSubnet: notYet(), ...l4Unsupported })),
    route: required(list(l4Destination)),
  },
  weights,
);

const tlsRoute = object(
  {
    match: required(list(object({ sniHosts: required(list(wildcardHost)), port: portNumber, gateways: list(meshGateway), ...l4Unsupported }))),
    route: required(list(l4Destination)),
  },
  weights,
);

/** Istio's rule: a route by SNI speaks only of the VirtualService's own hosts. */
const sniWithinHosts: ObjectRule = (value, path, report) => {
  const hosts = itemsOf(value["hosts"]).map(String);
  itemsOf(value["tls"]).forEach((route, routeIndex) => {
    itemsOf(fieldOf(route, "match")).forEach((entry, matchIndex) => {
      itemsOf(fieldOf(entry, "sniHosts")).forEach((sni, index) => {
        if (hosts.some((pattern) => hostMatches(pattern, String(sni)))) return;
        const at = [...path, "tls", routeIndex, "match", matchIndex, "sniHosts", index];
        report({ code: "IM0132", path: at, message: `${String(sni)} is none of the hosts`, remedy: "add it to hosts" });
      });
    });
  });
};

/** A route that takes everything hides those behind it. */
const reachable: ObjectRule = (value, path, report) => {
  const routes = itemsOf(value["http"]);
  const catchAll = routes.findIndex((route) => {
    const matches = itemsOf(fieldOf(route, "match"));
    return matches.length === 0 || matches.some((entry) => Object.keys(entry as object).every((name) => name === "name" || name === "gateways"));
  });
  if (catchAll >= 0 && catchAll < routes.length - 1) {
    noEffect([...path, "http", catchAll + 1], `http[${catchAll}] already takes every request`, report, "move the route without conditions to the end");
  }
};

const notEverything: ObjectRule = (value, path, report) => {
  if (["http", "tcp", "tls"].some((name) => hasField(value, name))) return;
  report({ code: "IM0112", path, message: "needs one of http, tcp, tls" });
};

/** Source: istio.io/latest/docs/reference/config/networking/virtual-service */
export const virtualServiceSchema = object(
  {
    hosts: required(list(wildcardHost)),
    gateways: list(meshGateway),
    http: list(httpRoute),
    tcp: list(tcpRoute),
    tls: list(tlsRoute),
    exportTo: list(exportTo),
  },
  uniqueIn("hosts", (entry) => entry, "the host"),
  notEverything,
  sniWithinHosts,
  reachable,
);
