import { err, ok } from "../base/result.ts";
import type { Result } from "../base/result.ts";
import type { VerifiedCsr } from "../base/x509/csr.ts";
import { hostDnsName, workloadId } from "../model/identity.ts";
import type { SpiffeId } from "../model/identity.ts";
import type { Authority } from "./authority.ts";
import type { CaConfig } from "./config.ts";
import { caError } from "./errors.ts";
import type { HostGrant } from "./grant.ts";
import { signLeaf } from "./leaf.ts";
import type { IssuedCertificate } from "./leaf.ts";

/** What the members of a WorkloadGroup are in policies. */
export interface GroupIdentity {
  readonly namespace: string;
  readonly serviceAccount: string;
}

/** The mesh's present truth about a group, `NAMESPACE/NAME`; `undefined` where there is none. */
export type ResolveGroup = (group: string) => GroupIdentity | undefined;

/** What a host asks for, and what the server knows about it. */
export interface WorkloadRequest {
  readonly grant: HostGrant;
  readonly group: string;
  readonly resolveGroup: ResolveGroup;
  /** Verifies the request, which costs more than everything before it. */
  readonly readCsr: () => VerifiedCsr;
  readonly nowMs: number;
}

/** The identity of the group's members, or in words why it has none. */
export function groupIdentity(trustDomain: string, group: string, resolveGroup: ResolveGroup): Result<SpiffeId, string> {
  const identity = resolveGroup(group);
  if (identity === undefined) return err(`there is no WorkloadGroup ${group}`);
  // A grant speaks of a namespace; nothing that a group's owner writes leads out of it.
  if (identity.namespace !== group.split("/")[0]) return err(`the WorkloadGroup ${group} is not in the namespace ${identity.namespace}`);
  try {
    return ok(workloadId(trustDomain, identity.namespace, identity.serviceAccount));
  } catch {
    return err(`the service account of the WorkloadGroup ${group} cannot be part of a SPIFFE ID`);
  }
}

/**
 * An SVID for one workload of a host, where the host was granted its group.
 * Throws `MESH_GROUP_NOT_GRANTED`, `MESH_GROUP_UNKNOWN`, `MESH_CSR_INVALID`.
 */
export function mintWorkloadCertificate(authority: Authority, config: CaConfig, request: WorkloadRequest): IssuedCertificate {
  const { grant, group, resolveGroup, readCsr, nowMs } = request;
  const facts = { hostId: grant.hostId, group };
  if (!grant.groups.includes(group)) {
    throw caError("MESH_GROUP_NOT_GRANTED", `the host ${grant.hostId} was not granted the WorkloadGroup ${group}`, { facts });
  }
  const id = groupIdentity(authority.trustDomain, group, resolveGroup);
  if (!id.ok) throw caError("MESH_GROUP_UNKNOWN", id.error, { facts });
  const csr = readCsr();
  // Two classes of identity never share a key: Envoy holds the one, the agent the other.
  if (csr.spkiSha256 === grant.spkiSha256 || csr.spkiSha256 === grant.previousSpkiSha256) {
    throw caError("MESH_CSR_INVALID", "a workload's key must not be its host's key", { facts });
  }
  return signLeaf(authority, {
    id: id.value,
    // Replicas share the SPIFFE ID; by this name one host's can be told and revoked.
    dnsNames: [hostDnsName(grant.hostId, authority.trustDomain)],
    spki: csr.spki,
    nowMs,
    ttlSeconds: config.workloadTtlSeconds,
    backdateSeconds: config.backdateSeconds,
  });
}
