import { err, ok } from "../base/result.ts";
import type { Result } from "../base/result.ts";

/**
 * Who somebody is: a SPIFFE ID (https://spiffe.io/docs/latest/spiffe-specs/spiffe-id/).
 * Always valid: made by `parseSpiffeId` or by one of the constructors here.
 */
export interface SpiffeId {
  readonly trustDomain: string;
  /** Starts with a slash; empty for the trust domain itself. */
  readonly path: string;
}

/**
 * The three disjoint classes of identity in a mesh. The data plane accepts only
 * workloads, the agent port only hosts, agents only the control plane.
 */
export type Identity =
  | { readonly kind: "workload"; readonly trustDomain: string; readonly namespace: string; readonly serviceAccount: string }
  | { readonly kind: "host"; readonly trustDomain: string; readonly hostId: string }
  | { readonly kind: "control-plane"; readonly trustDomain: string; readonly replica: string };

const scheme = "spiffe://";
/** SPIFFE-ID §2.3: the whole of it, in bytes (all characters are ASCII). */
const maxIdLength = 2_048;
/** SPIFFE-ID §2.1. */
const maxTrustDomainLength = 255;
const trustDomainPattern = /^[a-z0-9._-]+$/;
const segmentPattern = /^[A-Za-z0-9._-]+$/;
const dnsLabelPattern = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
/** RFC 1035 §2.3.4, as written with dots. */
const maxDnsNameLength = 253;
/** What is left for the trust domain when the longest host id and `.host.` stand before it. */
const maxMeshTrustDomainLength = maxDnsNameLength - 63 - ".host.".length;

/** Reads a SPIFFE ID exactly as the specification writes it; the error says in words what is wrong. */
export function parseSpiffeId(text: string): Result<SpiffeId, string> {
  if (text.length > maxIdLength) return err(`a SPIFFE ID has at most ${maxIdLength} characters`);
  if (!text.startsWith(scheme)) return err(`a SPIFFE ID starts with ${scheme}`);
  const rest = text.slice(scheme.length);
  const slash = rest.indexOf("/");
  const trustDomain = slash === -1 ? rest : rest.slice(0, slash);
  const path = slash === -1 ? "" : rest.slice(slash);
  if (!isTrustDomain(trustDomain)) return err("its trust domain is not 1 to 255 characters of a-z, 0-9, dot, hyphen, underscore");
  if (path !== "" && !path.slice(1).split("/").every(isPathSegment)) {
    return err("its path is not segments of letters, digits, dot, hyphen, underscore (none empty, none . or ..)");
  }
  return ok({ trustDomain, path });
}

/** `spiffe://<trust domain><path>` */
export function formatSpiffeId(id: SpiffeId): string {
  return `${scheme}${id.trustDomain}${id.path}`;
}

export function isTrustDomain(text: string): boolean {
  return text.length <= maxTrustDomainLength && trustDomainPattern.test(text);
}

/**
 * True for a trust domain that a mesh of ours may have: also a DNS name, short
 * enough to stand behind a host's id, because certificates carry it as one.
 */
export function isMeshTrustDomain(text: string): boolean {
  return text.length <= maxMeshTrustDomainLength && text.split(".").every((label) => dnsLabelPattern.test(label));
}

/** True for what the authority may give a host as its id: one DNS label. */
export function isHostId(text: string): boolean {
  return dnsLabelPattern.test(text);
}

/** `/ns/<namespace>/sa/<service account>`: what Istio's policies and sidecars understand. Throws for a name that is no path segment. */
export function workloadId(trustDomain: string, namespace: string, serviceAccount: string): SpiffeId {
  return built(trustDomain, "ns", namespace, "sa", serviceAccount);
}

/** `/host/<host id>`: the agent of one host. */
export function hostIdentity(trustDomain: string, hostId: string): SpiffeId {
  if (!isHostId(hostId)) throw new Error(`not a host id: ${hostId}`);
  return built(trustDomain, "host", hostId);
}

/** `/control-plane/<replica>` */
export function controlPlaneId(trustDomain: string, replica: string): SpiffeId {
  return built(trustDomain, "control-plane", replica);
}

/** Which of the three classes an ID is in; `undefined` for every other ID, whatever its trust domain. */
export function classOf(id: SpiffeId): Identity | undefined {
  const { trustDomain } = id;
  const [empty, kind, first, third, last, surplus] = id.path.split("/");
  if (empty !== "" || kind === undefined || first === undefined || surplus !== undefined) return undefined;
  if (kind === "ns" && third === "sa" && last !== undefined) {
    return { kind: "workload", trustDomain, namespace: first, serviceAccount: last };
  }
  if (third !== undefined) return undefined;
  if (kind === "host" && isHostId(first)) return { kind: "host", trustDomain, hostId: first };
  if (kind === "control-plane") return { kind: "control-plane", trustDomain, replica: first };
  return undefined;
}

/**
 * The name that the authority writes into every workload certificate of a host,
 * beside the SPIFFE ID that its replicas share: revocation and metrics go by it.
 */
export function hostDnsName(hostId: string, trustDomain: string): string {
  return `${hostId}.host.${trustDomain}`;
}

function isPathSegment(segment: string): boolean {
  return segmentPattern.test(segment) && segment !== "." && segment !== "..";
}

function built(trustDomain: string, ...segments: string[]): SpiffeId {
  const id = { trustDomain, path: `/${segments.join("/")}` };
  if (!segments.every(isPathSegment) || !parseSpiffeId(formatSpiffeId(id)).ok) throw new Error(`not a SPIFFE ID: ${formatSpiffeId(id)}`);
  return id;
}
