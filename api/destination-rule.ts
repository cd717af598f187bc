import { fieldOf, hasField, uniqueIn } from "./rules.ts";
import { choice, flag, ignored, integer, list, notYet, object, required, text, type ObjectRule } from "./schema.ts";
import { dnsLabel, duration, exportTo, host, labels, portNumber, textProblem, wildcardHost } from "./text.ts";

const LIMIT_MAX = 2_147_483_647;
const limit = integer(0, LIMIT_MAX);

const loadBalancer = object({
  simple: choice(["UNSPECIFIED", "ROUND_ROBIN", "LEAST_REQUEST", "LEAST_CONN", "RANDOM"], ["PASSTHROUGH"]),
  consistentHash: notYet("use simple"),
  localityLbSetting: notYet(),
  warmup: ignored(),
  warmupDurationSecs: ignored(),
});

const connectionPool = object({
  tcp: object({
    maxConnections: limit,
    connectTimeout: duration,
    idleTimeout: ignored(),
    maxConnectionDuration: ignored(),
    tcpKeepalive: ignored(),
  }),
  http: object({
    http1MaxPendingRequests: limit,
    http2MaxRequests: limit,
    maxRequestsPerConnection: limit,
    maxRetries: limit,
    idleTimeout: duration,
    h2UpgradePolicy: choice(["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"]),
    useClientProtocol: ignored(),
    maxConcurrentStreams: ignored(),
  }),
});

const outlierDetection = object({
  consecutive5xxErrors: limit,
  consecutiveGatewayErrors: limit,
  interval: duration,
  baseEjectionTime: duration,
  maxEjectionPercent: integer(0, 100),
  minHealthPercent: integer(0, 100),
  consecutiveErrors: ignored("use consecutive5xxErrors"),
  consecutiveLocalOriginFailures: ignored(),
  splitExternalLocalOriginErrors: ignored(),
});

const simpleOnly: ObjectRule = (value, path, report) => {
  if (value["mode"] === "SIMPLE") return;
  for (const name of ["caCertificates", "subjectAltNames", "sni", "insecureSkipVerify"]) {
    if (hasField(value, name)) report({ code: "IM0132", path: [...path, name], atKey: true, message: `${name} needs mode SIMPLE`, remedy: `remove ${name}` });
  }
};

const tls = object(
  {
    mode: required(choice(["DISABLE", "SIMPLE", "ISTIO_MUTUAL"], ["MUTUAL"])),
    caCertificates: text("absolute path", (path) => (path.startsWith("/") ? undefined : { code: "IM0128", message: "is not an absolute path" })),
    subjectAltNames: list(text("name", textProblem)),
    sni: host,
    insecureSkipVerify: flag,
    clientCertificate: notYet(),
    privateKey: notYet(),
    credentialName: notYet("use caCertificates"),
    caCrl: notYet(),
  },
  simpleOnly,
);

const portPolicy = { loadBalancer, connectionPool, outlierDetection, tls };

const trafficPolicy = object(
  {
    ...portPolicy,
    portLevelSettings: list(object({ port: required(object({ number: required(portNumber) })), ...portPolicy })),
    tunnel: notYet(),
    proxyProtocol: notYet(),
    retryBudget: ignored(),
  },
  uniqueIn("portLevelSettings", (settings) => fieldOf(fieldOf(settings, "port"), "number"), "the port"),
);

/** Source: istio.io/latest/docs/reference/config/networking/destination-rule */
export const destinationRuleSchema = object(
  {
    host: required(wildcardHost),
    subsets: list(object({ name: required(dnsLabel), labels, trafficPolicy })),
    trafficPolicy,
    exportTo: list(exportTo),
    workloadSelector: notYet(),
  },
  uniqueIn("subsets", (subset) => fieldOf(subset, "name"), "the subset"),
);

