import { normalize } from "node:path";

import { fromBinary } from "@bufbuild/protobuf";
import type { Registry } from "@bufbuild/protobuf";

import { messageOf } from "../base/coded-error.ts";
import type { Resource } from "../xds/resource.ts";
import { TYPE_URLS } from "../xds/type-urls.ts";

/** What this host lets a control plane do to its Envoy. */
export interface GuardPolicy {
  readonly inboundPort: number;
  /** First and last of the loopback ports of outbound listeners. */
  readonly outboundRange: readonly [number, number];
  /** Files of roots that Envoy may trust besides the public ones, and folders of such files. */
  readonly trustedRoots: readonly string[];
  /** Every message type that the agent can look into. */
  readonly registry: Registry;
}

/** The types that the agent takes from the control plane, in the order of their subscriptions. */
export const OWN_TYPES: readonly string[] = [TYPE_URLS.trustBundle, TYPE_URLS.hostConfig, TYPE_URLS.nameRecord];
export const RELAYED_TYPES: readonly string[] = [
  TYPE_URLS.secret,
  TYPE_URLS.cluster,
  TYPE_URLS.clusterLoadAssignment,
  TYPE_URLS.listener,
  TYPE_URLS.filterChain,
  TYPE_URLS.routeConfiguration,
  TYPE_URLS.virtualHost,
  TYPE_URLS.extensionConfig,
];

/** Public roots, the same file that every program of the host reads. */
const PUBLIC_ROOTS = new Set(["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"]);
const LOOPBACK = new Set(["127.0.0.1", "::1"]);
const MAX_DEPTH = 64;

/**
 * Why a resource must not reach Envoy, or undefined. A control plane that was
 * taken over could otherwise have Envoy read files, dial the sockets of other
 * daemons, open ports, or send under a key that it chose itself.
 */
export function refuseResource(resource: Resource, policy: GuardPolicy): string | undefined {
  if (OWN_TYPES.includes(resource.typeUrl)) return undefined;
  if (!RELAYED_TYPES.includes(resource.typeUrl)) return `${resource.name}: ${resource.typeUrl} is not relayed by this agent`;
  const reason = inspectAny(resource.typeUrl, resource.bytes, policy, 0);
  return reason === undefined ? undefined : `${resource.name}: ${reason}`;
}

function inspectAny(typeUrl: string, bytes: Uint8Array, policy: GuardPolicy, depth: number): string | undefined {
  const schema = policy.registry.getMessage(typeUrl.slice(typeUrl.lastIndexOf("/") + 1));
  // What cannot be looked into could hold anything.
  if (schema === undefined) return `it holds a ${typeUrl}, which this agent does not know`;
  try {
    return inspect(fromBinary(schema, bytes), policy, depth);
  } catch (failure) {
    return `it is not a valid ${typeUrl}: ${messageOf(failure)}`;
  }
}

type Fields = Readonly<Record<string, unknown>>;

function inspect(value: unknown, policy: GuardPolicy, depth: number): string | undefined {
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return undefined;
  if (depth > MAX_DEPTH) return "it is nested too deeply";
  const fields = value as Fields;
  const typeName = fields["$typeName"];
  if (typeName === "google.protobuf.Any") {
    return typeof fields["typeUrl"] === "string" && fields["typeUrl"] !== "" ? inspectAny(fields["typeUrl"], fields["value"] as Uint8Array, policy, depth + 1) : undefined;
  }
  const refusal = typeof typeName === "string" ? RULES[typeName]?.(fields, policy) : undefined;
  if (refusal !== undefined) return refusal;
  for (const child of Array.isArray(value) ? (value as readonly unknown[]) : Object.values(fields)) {
    const reason = inspect(child, policy, depth + 1);
    if (reason !== undefined) return reason;
  }
  return undefined;
}

/** By message type, wherever it stands in a resource. */
const RULES: Readonly<Record<string, (fields: Fields, policy: GuardPolicy) => string | undefined>> = {
  "envoy.config.core.v3.DataSource"({ specifier }, { trustedRoots }) {
    const { case: kind, value } = specifier as { case?: string; value?: unknown };
    if (kind === "environmentVariable") return "it reads an environment variable";
    if (kind !== "filename" || isTrustedRoot(String(value), trustedRoots)) return undefined;
    return `it reads the file ${String(value)}, which envoy.trustedRoots of this agent does not name`;
  },
  "envoy.config.core.v3.WatchedDirectory": () => "it watches a directory",
  "envoy.config.core.v3.PathConfigSource": () => "it reads its configuration from a file",
  "envoy.config.core.v3.ConfigSource"({ configSourceSpecifier }) {
    const { case: kind } = configSourceSpecifier as { case?: string };
    return kind === undefined || kind === "ads" || kind === "self" ? undefined : `it takes configuration from elsewhere (${kind})`;
  },
  "envoy.config.core.v3.Pipe": ({ path }) => `it uses the unix socket ${String(path)}`,
  "envoy.config.core.v3.GrpcService.GoogleGrpc": () => "it uses a gRPC client that reads files of the host",
  "envoy.extensions.access_loggers.file.v3.FileAccessLog": ({ path }) => `it writes to the file ${String(path)}`,
  "envoy.extensions.transport_sockets.tls.v3.TlsCertificate": () => "it brings a certificate with a key: keys are made on the host",
  "envoy.extensions.transport_sockets.tls.v3.GenericSecret": () => "it brings a secret",
  "envoy.extensions.transport_sockets.tls.v3.TlsSessionTicketKeys": () => "it brings session ticket keys",
  "envoy.config.listener.v3.Listener": refuseListener,
};

/** As written: what has to be resolved first, such as `..`, is another path. */
function isTrustedRoot(path: string, trustedRoots: readonly string[]): boolean {
  if (PUBLIC_ROOTS.has(path)) return true;
  return path === normalize(path) && trustedRoots.some((root) => path === root || path.startsWith(root.endsWith("/") ? root : `${root}/`));
}

function refuseListener(fields: Fields, policy: GuardPolicy): string | undefined {
  const additional = fields["additionalAddresses"] as readonly { readonly address?: unknown }[];
  const addresses = [fields["address"], ...additional.map((one) => one.address)];
  for (const address of addresses) {
    const kind = (address as { address?: { case?: string; value?: Fields } } | undefined)?.address;
    if (kind?.case !== "socketAddress") return "the listener has no address and port";
    const ip = String(kind.value?.["address"]);
    const specifier = kind.value?.["portSpecifier"] as { case?: string; value?: unknown } | undefined;
    if (specifier?.case !== "portValue") return "the listener's port is not a number";
    const port = Number(specifier.value);
    const [first, last] = policy.outboundRange;
    if (port === policy.inboundPort) continue;
    if (port < first || port > last) return `the listener binds port ${port}, this agent's are ${policy.inboundPort} and ${first} to ${last}`;
    // Whoever can dial an outbound listener sends under its workload's identity.
    if (!LOOPBACK.has(ip)) return `the outbound listener binds ${ip} instead of loopback`;
  }
  return undefined;
}
