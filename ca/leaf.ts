import { randomSerial, signCertificate } from "../base/x509/certificate.ts";
import type { SubjectAlternativeName } from "../base/x509/certificate.ts";
import { formatSpiffeId } from "../model/identity.ts";
import type { SpiffeId } from "../model/identity.ts";
import type { Authority } from "./authority.ts";

export interface IssuedCertificate {
  readonly spiffeId: string;
  /** Leaf first, DER. */
  readonly chain: readonly Buffer[];
  /** Hex, as openssl shows it. */
  readonly serial: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** What the three kinds of certificate differ in. */
export interface LeafContent {
  readonly id: SpiffeId;
  readonly dnsNames: readonly string[];
  readonly spki: Uint8Array;
  readonly nowMs: number;
  readonly ttlSeconds: number;
  readonly backdateSeconds: number;
}

/**
 * An X.509-SVID (SPIFFE X509-SVID §4, §5): one URI name, usable for both ends of
 * TLS, never for signing, never longer alive than its root. Only the three files
 * that mint one class of identity each call this.
 */
export function signLeaf(authority: Authority, content: LeafContent): IssuedCertificate {
  const { id, dnsNames, spki, nowMs, ttlSeconds, backdateSeconds } = content;
  if (id.trustDomain !== authority.trustDomain) throw new Error(`this authority signs for ${authority.trustDomain} only`);
  const spiffeId = formatSpiffeId(id);
  const serial = randomSerial();
  const notBeforeMs = wholeSeconds(nowMs - backdateSeconds * 1_000);
  const notAfterMs = wholeSeconds(Math.min(nowMs + ttlSeconds * 1_000, authority.notAfterMs));
  const names: SubjectAlternativeName[] = [{ type: "uri", value: spiffeId }];
  for (const value of dnsNames) names.push({ type: "dns", value });
  const leaf = signCertificate(
    {
      serial,
      // No common name: nothing may take one for a host name.
      subject: { organization: "Ironmesh" },
      notBeforeMs,
      notAfterMs,
      spki,
      names,
      keyUsage: ["digitalSignature"],
      extendedKeyUsage: ["serverAuth", "clientAuth"],
    },
    authority.issuer,
  );
  return { spiffeId, chain: [leaf], serial: Buffer.from(serial).toString("hex").toUpperCase(), notBeforeMs, notAfterMs };
}

function wholeSeconds(epochMs: number): number {
  return Math.floor(epochMs / 1_000) * 1_000;
}
