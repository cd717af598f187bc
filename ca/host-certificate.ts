import type { VerifiedCsr } from "../base/x509/csr.ts";
import { hostIdentity } from "../model/identity.ts";
import type { Authority } from "./authority.ts";
import type { CaConfig } from "./config.ts";
import { signLeaf } from "./leaf.ts";
import type { IssuedCertificate } from "./leaf.ts";

/** The certificate of a host's agent, `/host/<host id>`: good for the agent port, for nothing in the data plane. */
export function mintHostCertificate(authority: Authority, config: CaConfig, hostId: string, csr: VerifiedCsr, nowMs: number): IssuedCertificate {
  return signLeaf(authority, {
    id: hostIdentity(authority.trustDomain, hostId),
    dnsNames: [],
    spki: csr.spki,
    nowMs,
    ttlSeconds: config.hostTtlSeconds,
    backdateSeconds: config.backdateSeconds,
  });
}
