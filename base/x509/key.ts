import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync } from "node:crypto";
import type { KeyObject } from "node:crypto";

import { messageOf } from "../coded-error.ts";
import { err, ok } from "../result.ts";
import type { Result } from "../result.ts";
import { SecretBytes } from "../secret-bytes.ts";

/** A new ECDSA P-256 private key: what every certificate of the mesh is made for and signed with. */
export function generatePrivateKey(): KeyObject {
  return generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
}

/** PKCS#8, unencrypted: for a file that is 0600, or for Envoy over SDS. */
export function privateKeyPem(privateKey: KeyObject): SecretBytes {
  return new SecretBytes(privateKey.export({ type: "pkcs8", format: "pem" }).toString());
}

/** Reads what `privateKeyPem` wrote (and any other unencrypted private key). */
export function parsePrivateKeyPem(pem: SecretBytes): Result<KeyObject, string> {
  try {
    return ok(createPrivateKey(pem.revealText()));
  } catch (failure) {
    return err(`not a private key in PEM: ${messageOf(failure)}`);
  }
}

/** SubjectPublicKeyInfo, DER, of a public key or of a private key's public half. */
export function publicKeySpki(key: KeyObject): Buffer {
  const publicKey = key.type === "private" ? createPublicKey(key) : key;
  return publicKey.export({ type: "spki", format: "der" });
}

/** The name of a key everywhere in the mesh: SHA-256 of its SubjectPublicKeyInfo, lower-case hex. */
export function spkiSha256(spki: Uint8Array): string {
  return createHash("sha256").update(spki).digest("hex");
}
