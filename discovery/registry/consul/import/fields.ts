import type { TranslatedKind } from "./entry.ts";
import { isUnset } from "./unset.ts";

/** Looked at by the translation, which reports itself what it cannot say. */
const READ = Symbol("read");
/** A mapping whose keys are names that people chose. */
const MAP = Symbol("map");

type Rule = typeof READ | typeof MAP | string;

function read(prefix: string, names: string): Record<string, Rule> {
  return Object.fromEntries(names.split(" ").map((name) => [`${prefix}${name}`, READ] as const));
}

const EVERY_ENTRY = read("", "Kind Name Namespace Partition Meta Hash CreateIndex ModifyIndex");
const NO_EXTENSIONS = "what an Envoy extension does has to be said by resources of the mesh";
const NO_GATEWAYS = "gateways between datacenters are not part of the mesh: let hosts reach each other, or go through an address that they can reach";
const CAPTURE = "how connections are captured is said on each host, in the agent's configuration";
const EXPOSE = "the agent runs health checks itself: write a probe into the WorkloadGroup";
const LOCALITY = "endpoints of all localities get traffic alike";

/**
 * Every field of the translated kinds that is known, `[]` for items and `*` for
 * keys that people chose; a text is the remedy of a field that is not
 * translated. What is written and not here is unknown, and reported as such.
 */
const FIELDS: Readonly<Record<TranslatedKind, Readonly<Record<string, Rule>>>> = {
  "service-router": {
    ...EVERY_ENTRY,
    ...read("Routes[].Match.HTTP.", "PathExact PathPrefix PathRegex CaseInsensitive Methods"),
    ...read("Routes[].Match.HTTP.Header[].", "Name Present Exact Prefix Suffix Contains Regex Invert"),
    ...read("Routes[].Match.HTTP.QueryParam[].", "Name Present Exact Regex"),
    ...read("Routes[].Destination.", "Service ServiceSubset Namespace Partition PrefixRewrite RequestTimeout NumRetries RetryOnConnectFailure RetryOn RetryOnStatusCodes"),
    ...read("Routes[].Destination.RequestHeaders.", "Add Set Remove"),
    ...read("Routes[].Destination.ResponseHeaders.", "Add Set Remove"),
    "Routes[].Destination.IdleTimeout": "Istio's routes have no idle timeout; RequestTimeout ends a request that takes too long",
  },
  "service-splitter": {
    ...EVERY_ENTRY,
    ...read("Splits[].", "Weight Service ServiceSubset Namespace Partition"),
    ...read("Splits[].RequestHeaders.", "Add Set Remove"),
    ...read("Splits[].ResponseHeaders.", "Add Set Remove"),
  },
  "service-resolver": {
    ...EVERY_ENTRY,
    ...read("", "DefaultSubset ConnectTimeout RequestTimeout"),
    Subsets: MAP,
    ...read("Subsets.*.", "Filter OnlyPassing"),
    ...read("Redirect.", "Service ServiceSubset Namespace Partition Datacenter Peer SamenessGroup"),
    ...read("LoadBalancer.", "Policy RingHashConfig LeastRequestConfig HashPolicies"),
    Failover: "Istio has no failover from one service to another: give the service its endpoints of both places (a ServiceEntry's, say), or change the routes when it happens",
    PrioritizeByLocality: LOCALITY,
  },
  "service-defaults": {
    ...EVERY_ENTRY,
    ...read("", "Protocol MutualTLSMode"),
    ...read("UpstreamConfig.Overrides[].", "Name Namespace Partition Peer ConnectTimeoutMs"),
    ...read("UpstreamConfig.Overrides[].Limits.", "MaxConnections MaxPendingRequests MaxConcurrentRequests"),
    ...read("UpstreamConfig.Overrides[].PassiveHealthCheck.", "Interval MaxFailures EnforcingConsecutive5xx MaxEjectionPercent BaseEjectionTime"),
    "UpstreamConfig.Overrides[].Protocol": "the mesh learns a protocol from the called service: register that with the meta protocol",
    "UpstreamConfig.Overrides[].MeshGateway": NO_GATEWAYS,
    "UpstreamConfig.Overrides[].BalanceOutboundConnections": "Envoy's connection balance cannot be set",
    "UpstreamConfig.Overrides[].EnvoyListenerJSON": "Envoy's own configuration is not taken: say what it does by resources of the mesh",
    "UpstreamConfig.Overrides[].EnvoyClusterJSON": "Envoy's own configuration is not taken: say what it does by resources of the mesh",
    "UpstreamConfig.Defaults": "a DestinationRule speaks of one called service, for all of its callers: write the settings into a DestinationRule of each service that this one calls",
    MaxInboundConnections: "a DestinationRule's connectionPool.tcp.maxConnections limits each caller, not the service: write it where that is near enough",
    Mode: CAPTURE,
    TransparentProxy: CAPTURE,
    MeshGateway: NO_GATEWAYS,
    Expose: EXPOSE,
    ExternalSNI: "write a ServiceEntry for the host, and a DestinationRule with tls: {mode: SIMPLE, sni: …}",
    Destination: "write a ServiceEntry of location MESH_EXTERNAL with these hosts and this port",
    LocalConnectTimeoutMs: "the connection from Envoy to its own application has no setting",
    LocalRequestTimeoutMs: "set a timeout in the callers' routes: the VirtualService of the service",
    BalanceInboundConnections: "Envoy's connection balance cannot be set",
    RateLimits: "there are no rate limits in the mesh yet: limit in the application or in front of the mesh",
    EnvoyExtensions: NO_EXTENSIONS,
    MaxRequestHeadersKB: "Envoy's own limit of request headers holds",
  },
  "proxy-defaults": {
    ...EVERY_ENTRY,
    MutualTLSMode: READ,
    "Config.protocol": READ,
    Mode: CAPTURE,
    TransparentProxy: CAPTURE,
    MeshGateway: NO_GATEWAYS,
    Expose: EXPOSE,
    AccessLogs: "the mesh writes Envoy's access log in a form of its own",
    EnvoyExtensions: NO_EXTENSIONS,
    FailoverPolicy: LOCALITY,
    PrioritizeByLocality: LOCALITY,
  },
  "service-intentions": {
    ...EVERY_ENTRY,
    JWT: READ,
    ...read("Sources[].", "Name Namespace Partition Peer SamenessGroup Action Permissions Precedence Type Description LegacyID LegacyMeta LegacyCreateTime LegacyUpdateTime"),
  },
};

/** Something that an entry says and that no resource will. */
export interface LeftOut {
  readonly path: string;
  readonly isKnown: boolean;
  readonly remedy: string;
}

/** What the translation does not look at, of all that is written in an entry. */
export function fieldsLeftOut(kind: TranslatedKind, entry: Readonly<Record<string, unknown>>): LeftOut[] {
  const rules = FIELDS[kind];
  const found: LeftOut[] = [];
  const walk = (value: unknown, pattern: string, path: string): void => {
    const rule = rules[pattern];
    if (rule === READ || isUnset(value)) return;
    if (typeof rule === "string") {
      found.push({ path, isKnown: true, remedy: rule });
    } else if (Array.isArray(value)) {
      value.forEach((item, index) => walk(item, `${pattern}[]`, `${path}[${index}]`));
    } else if (typeof value === "object" && value !== null) {
      const isMap = rule === MAP;
      for (const [key, item] of Object.entries(value)) {
        const dot = pattern === "" ? "" : ".";
        walk(item, `${pattern}${dot}${isMap ? "*" : key}`, isMap ? `${path}[${JSON.stringify(key)}]` : `${path}${dot}${key}`);
      }
    } else {
      found.push({ path, isKnown: false, remedy: "look up what Consul does with it, and whether a resource of the mesh can say it" });
    }
  };
  walk(entry, "", "");
  return found;
}
