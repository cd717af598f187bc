import type { SecretBytes } from "../base/secret-bytes.ts";
import { generatePrivateKey, privateKeyPem, publicKeySpki } from "../base/x509/key.ts";
import { controlPlaneId } from "../model/identity.ts";
import type { Authority } from "./authority.ts";
import type { CaConfig } from "./config.ts";
import { signLeaf } from "./leaf.ts";
import type { IssuedCertificate } from "./leaf.ts";

/** What a replica of the control plane serves agents with. */
export interface ControlPlaneCertificate extends IssuedCertificate {
  readonly privateKeyPem: SecretBytes;
}

/**
 * A new key and certificate for this replica, `/control-plane/<replica>`, with
 * the names that agents dial. The root ends the chain: a host that joins finds
 * there the one whose fingerprint its token carries.
 */
export function mintControlPlaneCertificate(authority: Authority, config: CaConfig, nowMs: number): ControlPlaneCertificate {
  const privateKey = generatePrivateKey();
  const issued = signLeaf(authority, {
    id: controlPlaneId(authority.trustDomain, config.replica),
    dnsNames: config.dnsNames,
    spki: publicKeySpki(privateKey),
    nowMs,
    ttlSeconds: config.controlPlaneTtlSeconds,
    backdateSeconds: config.backdateSeconds,
  });
  return { ...issued, chain: [...issued.chain, authority.root], privateKeyPem: privateKeyPem(privateKey) };
}
