import { X509Certificate } from "node:crypto";

import { publicKeySpki, spkiSha256 } from "./key.ts";

/**
 * The root among the certificates that a peer presented whose key has this
 * fingerprint, as DER: how an agent that has nothing but a join token finds the
 * one root it trusts. The caller then opens a second connection that trusts
 * only this root, so that TLS itself checks the chain.
 *
 * @param presented DER, from an unauthenticated peer
 * @param fingerprint `spkiSha256` of the root's key
 */
export function findPinnedRoot(presented: readonly Uint8Array[], fingerprint: string): Buffer | undefined {
  return presented.map((der) => Buffer.from(der)).find((der) => isRootWithKey(der, fingerprint));
}

function isRootWithKey(der: Buffer, fingerprint: string): boolean {
  try {
    const certificate = new X509Certificate(der);
    const key = certificate.publicKey;
    // The fingerprint names a key, so only a certificate that this very key signed may stand for it.
    return certificate.ca && spkiSha256(publicKeySpki(key)) === fingerprint && certificate.verify(key);
  } catch {
    return false;
  }
}
