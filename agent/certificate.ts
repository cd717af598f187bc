import { X509Certificate } from "node:crypto";

import { err, ok } from "../base/result.ts";
import type { Result } from "../base/result.ts";
import type { SecretBytes } from "../base/secret-bytes.ts";
import { parsePrivateKeyPem } from "../base/x509/key.ts";
import { encodePem } from "../base/x509/pem.ts";
import { parseSpiffeId } from "../model/identity.ts";
import type { SpiffeId } from "../model/identity.ts";

/** A certificate that the agent holds, with its key. */
export interface HeldCertificate {
  readonly spiffeId: SpiffeId;
  /** Hex. */
  readonly serial: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** PEM, leaf first. */
  readonly chain: string;
  /** PKCS#8 PEM. */
  readonly privateKey: SecretBytes;
}

/**
 * Reads a chain that the authority sent, or that lies on disk, and checks all
 * that the agent relies on: the leaf is for our key, names exactly one SPIFFE
 * ID, is no authority itself, and every link up to one of the roots is signed.
 * Expiry is not judged: an expired certificate is renewed, not forgotten.
 *
 * @param chain DER, leaf first
 * @param roots DER
 */
export function readHeldCertificate(chain: readonly Uint8Array[], privateKey: SecretBytes, roots: readonly Uint8Array[]): Result<HeldCertificate, string> {
  const key = parsePrivateKeyPem(privateKey);
  if (!key.ok) return key;
  const certificates = readAll(chain);
  const trusted = readAll(roots);
  const leaf = certificates?.[0];
  if (certificates === undefined || trusted === undefined || leaf === undefined) return err("the chain holds something that is no certificate");
  if (!leaf.checkPrivateKey(key.value)) return err("the certificate is for another key");
  if (leaf.ca) return err("the certificate is an authority's");
  const link = findBrokenLink(certificates, trusted);
  if (link !== undefined) return err(link);
  const uris = uriNames(leaf);
  const [uri] = uris;
  if (uris.length !== 1 || uri === undefined) return err(`the certificate has ${uris.length} URI names, a SPIFFE certificate has one`);
  const id = parseSpiffeId(uri);
  if (!id.ok) return id;
  return ok({
    spiffeId: id.value,
    serial: leaf.serialNumber.toLowerCase(),
    notBeforeMs: leaf.validFromDate.getTime(),
    notAfterMs: leaf.validToDate.getTime(),
    chain: chain.map((der) => encodePem("CERTIFICATE", der)).join(""),
    privateKey,
  });
}

/** The URI names of a certificate, in order. */
export function uriNames(certificate: X509Certificate): readonly string[] {
  const text = certificate.subjectAltName ?? "";
  // Node quotes a name that holds a comma or a quote (CVE-2021-44532); such a one is no SPIFFE ID.
  return text
    .split(", ")
    .filter((entry) => entry.startsWith("URI:"))
    .map((entry) => entry.slice("URI:".length));
}

/** PEM of certificates given as DER. */
export function certificatesPem(certificates: readonly Uint8Array[]): readonly string[] {
  return certificates.map((der) => encodePem("CERTIFICATE", der));
}

function findBrokenLink(chain: readonly X509Certificate[], roots: readonly X509Certificate[]): string | undefined {
  for (const [index, certificate] of chain.entries()) {
    if (roots.some((root) => certificate.checkIssued(root) && certificate.verify(root.publicKey))) return undefined;
    const issuer = chain[index + 1];
    if (issuer === undefined || !issuer.ca || !certificate.checkIssued(issuer) || !certificate.verify(issuer.publicKey)) break;
  }
  return "the chain does not end in a root of the mesh";
}

function readAll(der: readonly Uint8Array[]): readonly X509Certificate[] | undefined {
  try {
    return der.map((bytes) => new X509Certificate(bytes));
  } catch {
    return undefined;
  }
}
