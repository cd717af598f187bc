import { z } from "zod";
import { durationMs, isDuration } from "../../../../api/duration.ts";
import { isUnset } from "./unset.ts";

/*
 * What is read of Consul's config entries, as its HTTP API and `consul config
 * read` write them. Consul leaves out or nulls what is empty. Fields that are
 * not here are found by `fields.ts`, never passed over.
 * Source: developer.hashicorp.com/consul/docs/reference/config-entry
 */

const text = z.string().nullish().transform((value) => value ?? "");
const flag = z.boolean().nullish().transform((value) => value ?? false);
const count = z.number().int().min(0).nullish().transform((value) => value ?? 0);
const optionalCount = z.number().int().min(0).nullish().transform((value) => value ?? undefined);
const texts = z.record(z.string(), z.string()).nullish().transform((value) => value ?? {});

function list<T extends z.ZodType>(item: T) {
  return z.array(item).nullish().transform((value) => value ?? []);
}

function optional<T extends z.ZodType>(schema: T) {
  return schema.nullish().transform((value) => value ?? undefined);
}

/** With the names of fields that are not known here in `others`: whoever decides by such a mapping must not pass over a condition. */
function withOthers<S extends z.ZodRawShape>(shape: S, alsoKnown: readonly string[] = []) {
  const known = new Set([...Object.keys(shape), ...alsoKnown]);
  return z.looseObject(shape).transform((value) => ({ ...value, others: Object.entries(value).filter(([name, item]) => !known.has(name) && !isUnset(item)).map(([name]) => name) }));
}

/** Go's form, negative to switch something off, or a number of nanoseconds; in milliseconds, 0 where unset. */
const duration = z.union([z.string(), z.number()]).nullish().transform((value, context) => {
  if (value === null || value === undefined || value === "") return 0;
  if (typeof value === "number") return value / 1e6;
  const amount = value.replace(/^-/, "");
  if (isDuration(amount)) return (amount === value ? 1 : -1) * durationMs(amount);
  context.addIssue({ code: "custom", message: `${JSON.stringify(value)} is not a duration such as 1.5s` });
  return z.NEVER;
});

/** Where something is that Consul Enterprise, another datacenter or a peer has. */
const place = { Namespace: text, Partition: text };
const identity = { Name: z.string().min(1), ...place };

const headerChanges = optional(z.object({ Add: texts, Set: texts, Remove: list(z.string()) }));
const headerMatch = z.object({ Name: z.string(), Present: flag, Exact: text, Prefix: text, Suffix: text, Contains: text, Regex: text, Invert: flag });

const httpMatch = z.object({
  PathExact: text,
  PathPrefix: text,
  PathRegex: text,
  CaseInsensitive: flag,
  Header: list(headerMatch),
  QueryParam: list(z.object({ Name: z.string(), Present: flag, Exact: text, Regex: text })),
  Methods: list(z.string()),
});

const routeDestination = z.object({
  Service: text,
  ServiceSubset: text,
  ...place,
  PrefixRewrite: text,
  RequestTimeout: duration,
  NumRetries: count,
  RetryOnConnectFailure: flag,
  RetryOn: list(z.string()),
  RetryOnStatusCodes: list(z.number().int()),
  RequestHeaders: headerChanges,
  ResponseHeaders: headerChanges,
});

const router = z.object({
  ...identity,
  Routes: list(z.object({ Match: optional(z.object({ HTTP: optional(httpMatch) })), Destination: optional(routeDestination) })),
});

const splitter = z.object({
  ...identity,
  Splits: list(z.object({
    Weight: z.number().min(0).max(100).nullish().transform((value) => value ?? 0),
    Service: text,
    ServiceSubset: text,
    ...place,
    RequestHeaders: headerChanges,
    ResponseHeaders: headerChanges,
  })),
});

const loadBalancer = z.object({
  Policy: text,
  RingHashConfig: optional(z.object({ MinimumRingSize: count, MaximumRingSize: count })),
  LeastRequestConfig: optional(z.object({ ChoiceCount: count })),
  HashPolicies: list(z.object({
    Field: text,
    FieldValue: text,
    CookieConfig: optional(z.object({ Session: flag, TTL: duration, Path: text })),
    SourceIP: flag,
    Terminal: flag,
  })),
});

const resolver = z.object({
  ...identity,
  DefaultSubset: text,
  Subsets: z.record(z.string(), z.object({ Filter: text, OnlyPassing: flag })).nullish().transform((value) => value ?? {}),
  Redirect: optional(z.object({ Service: text, ServiceSubset: text, ...place, Datacenter: text, Peer: text, SamenessGroup: text })),
  ConnectTimeout: duration,
  RequestTimeout: duration,
  LoadBalancer: optional(loadBalancer),
});

const upstream = z.object({
  Name: text,
  ...place,
  Peer: text,
  ConnectTimeoutMs: count,
  Limits: optional(z.object({ MaxConnections: optionalCount, MaxPendingRequests: optionalCount, MaxConcurrentRequests: optionalCount })),
  PassiveHealthCheck: optional(z.object({
    Interval: duration,
    MaxFailures: count,
    EnforcingConsecutive5xx: optionalCount,
    MaxEjectionPercent: optionalCount,
    BaseEjectionTime: duration,
  })),
});

const mutualTlsMode = z.enum(["", "strict", "permissive"]).nullish().transform((value) => value ?? "");

const serviceDefaults = z.object({
  ...identity,
  Protocol: text,
  MutualTLSMode: mutualTlsMode,
  UpstreamConfig: optional(z.object({ Overrides: list(upstream) })),
});

const proxyDefaults = z.object({
  ...place,
  Name: text,
  Config: z.record(z.string(), z.unknown()).nullish().transform((value) => value ?? {}),
  MutualTLSMode: mutualTlsMode,
});

const action = z.enum(["allow", "deny"]);

const permission = withOthers({
  Action: action,
  HTTP: optional(withOthers({ PathExact: text, PathPrefix: text, PathRegex: text, Header: list(z.unknown()), Methods: list(z.string()) })),
  JWT: optional(z.unknown()),
});

const source = withOthers(
  {
    Name: z.string().min(1),
    ...place,
    Peer: text,
    SamenessGroup: text,
    Action: optional(z.union([action, z.literal("").transform(() => undefined)])),
    Permissions: list(permission),
  },
  ["Precedence", "Type", "Description", "LegacyID", "LegacyMeta", "LegacyCreateTime", "LegacyUpdateTime"],
);

const intentions = withOthers({ ...identity, Sources: list(source), JWT: optional(z.unknown()) }, ["Kind", "Meta", "Hash", "CreateIndex", "ModifyIndex"]);

/** The kinds that become resources of the mesh. */
export const TRANSLATED_KINDS = {
  "proxy-defaults": proxyDefaults,
  "service-defaults": serviceDefaults,
  "service-intentions": intentions,
  "service-resolver": resolver,
  "service-router": router,
  "service-splitter": splitter,
} as const;

export type TranslatedKind = keyof typeof TRANSLATED_KINDS;
export type EntryOf<K extends TranslatedKind> = z.output<(typeof TRANSLATED_KINDS)[K]>;

export type RouteMatch = z.output<typeof httpMatch>;
export type RouteDestination = z.output<typeof routeDestination>;
export type HeaderChanges = z.output<typeof headerChanges>;
export type Upstream = z.output<typeof upstream>;
export type LoadBalancer = z.output<typeof loadBalancer>;
export type Permission = z.output<typeof permission>;
export type Place = Readonly<Record<keyof typeof place, string>>;

/** True for what Consul without Enterprise has: its one namespace and partition. */
export function isDefaultPlace({ Namespace, Partition }: Place): boolean {
  return [Namespace, Partition].every((part) => part === "" || part === "default");
}
