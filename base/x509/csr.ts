import { createPublicKey, sign, verify } from "node:crypto";
import type { KeyObject } from "node:crypto";

import { err, ok } from "../result.ts";
import type { Result } from "../result.ts";
import {
  bitString,
  contentsOf,
  contextConstructed,
  contextMembersOf,
  decodeDer,
  encodeNode,
  encoded,
  integer,
  isObjectIdentifier,
  membersOf,
  objectIdentifier,
  sequence,
  tags,
  toBytes,
} from "./der.ts";
import type { Asn1Node } from "./der.ts";
import { publicKeySpki, spkiSha256 } from "./key.ts";
import { objectIdentifiers } from "./object-identifiers.ts";

/** Far above any honest request: one with an RSA-4096 key has about 1,600 bytes. */
export const maxCsrBytes = 8_192;

/** What the certificate authority takes from a request: a key whose holder asked. Names in it are not even read. */
export interface VerifiedCsr {
  /** SubjectPublicKeyInfo, DER. */
  readonly spki: Buffer;
  /** Hex, see `spkiSha256`. */
  readonly spkiSha256: string;
}

const signatureDigests: readonly (readonly [oid: string, keyType: "ec" | "rsa", digest: string])[] = [
  [objectIdentifiers.ecdsaWithSha256, "ec", "sha256"],
  [objectIdentifiers.ecdsaWithSha384, "ec", "sha384"],
  [objectIdentifiers.ecdsaWithSha512, "ec", "sha512"],
  [objectIdentifiers.sha256WithRsa, "rsa", "sha256"],
  [objectIdentifiers.sha384WithRsa, "rsa", "sha384"],
  [objectIdentifiers.sha512WithRsa, "rsa", "sha512"],
];

/** Everything before the point, where the curve is named and the point is not compressed (RFC 5480 §2). */
const ecSpkiForms = [
  { prefix: Buffer.from("3059301306072a8648ce3d020106082a8648ce3d03010703420004", "hex"), length: 91 },
  { prefix: Buffer.from("3076301006072a8648ce3d020106052b8104002203620004", "hex"), length: 120 },
] as const;

const unsupportedKey = "the request's key is not one of ECDSA P-256, ECDSA P-384 (named curve, point not compressed) and RSA";

const rsaBits = { min: 2_048, max: 4_096 } as const;

/** A PKCS#10 request (RFC 2986), DER, without names: the authority decides what its certificate says. */
export function buildCsr(privateKey: KeyObject): Buffer {
  if (privateKey.asymmetricKeyType !== "ec") throw new Error("a request is built for an EC key");
  const info = sequence(integer(Uint8Array.of(0)), sequence(), encoded(publicKeySpki(privateKey)), contextConstructed(0));
  const signature = sign("sha256", toBytes(info), privateKey);
  return toBytes(sequence(info, sequence(objectIdentifier(objectIdentifiers.ecdsaWithSha256)), bitString(signature)));
}

/**
 * Reads a request from a stranger and checks that its sender holds the key:
 * P-256, P-384 or RSA of 2048 to 4096 bits. The error says in words what is
 * wrong with it; no input makes this throw.
 */
export function verifyCsr(der: Uint8Array): Result<VerifiedCsr, string> {
  if (der.byteLength > maxCsrBytes) return err(`the request has ${der.byteLength} bytes, more than ${maxCsrBytes}`);
  const [info, algorithm, signatureNode, surplus] = membersOf(decodeDer(der), tags.sequence) ?? [];
  if (info === undefined || surplus !== undefined) return err("the request is not a PKCS#10 request in DER");
  const signature = contentsOf(signatureNode, tags.bitString);
  if (signature === undefined || signature[0] !== 0) return err("the request's signature is not a whole number of bytes");

  const spki = spkiOf(info);
  if (spki === undefined) return err("the request is not a PKCS#10 request in DER");
  const keyType = keyTypeOf(spki);
  if (!keyType.ok) return keyType;

  const digest = digestOf(algorithm, keyType.value);
  if (digest === undefined) return err("the request's signature algorithm does not fit its key or is not one of ECDSA and RSA with SHA-256, SHA-384, SHA-512");
  const isValid = isSignatureValid(digest, encodeNode(info), spki, signature.subarray(1));
  if (!isValid.ok) return isValid;
  return isValid.value ? ok({ spki, spkiSha256: spkiSha256(spki) }) : err("the request's signature does not verify with its own key");
}

function spkiOf(info: Asn1Node): Buffer | undefined {
  const [version, subject, spki, attributes, surplus] = membersOf(info, tags.sequence) ?? [];
  if (surplus !== undefined || attributes === undefined || contextMembersOf(attributes, 0) === undefined) return undefined;
  if (contentsOf(version, tags.integer)?.equals(Uint8Array.of(0)) !== true) return undefined;
  if (membersOf(subject, tags.sequence) === undefined || membersOf(spki, tags.sequence) === undefined) return undefined;
  return spki === undefined ? undefined : encodeNode(spki);
}

/** An EC key is only told by its form here: whether its point is on the curve shows when it is used. */
function keyTypeOf(spki: Buffer): Result<"ec" | "rsa", string> {
  if (ecSpkiForms.some(({ prefix, length }) => spki.length === length && spki.subarray(0, prefix.length).equals(prefix))) return ok("ec");
  let key: KeyObject;
  try {
    key = createPublicKey({ key: spki, format: "der", type: "spki" });
  } catch {
    return err(unsupportedKey);
  }
  const { modulusLength: bits, publicExponent } = key.asymmetricKeyDetails ?? {};
  if (key.asymmetricKeyType !== "rsa" || bits === undefined || publicExponent === undefined) return err(unsupportedKey);
  if (bits < rsaBits.min || bits > rsaBits.max) return err(`the request's RSA key has ${bits} bits, not ${rsaBits.min} to ${rsaBits.max}`);
  // A huge exponent makes each verification slow for everybody; a small one is a known weakness.
  if (publicExponent < 65_537n || publicExponent > 0xffff_ffffn || publicExponent % 2n === 0n) {
    return err("the request's RSA key has an unusual public exponent");
  }
  return ok("rsa");
}

function digestOf(algorithm: Asn1Node | undefined, keyType: "ec" | "rsa"): string | undefined {
  const [oid, parameters, surplus] = membersOf(algorithm, tags.sequence) ?? [];
  if (surplus !== undefined || (keyType === "ec" && parameters !== undefined)) return undefined;
  return signatureDigests.find(([known, type]) => type === keyType && isObjectIdentifier(oid, known))?.[2];
}

/** The error is about the key: a malformed signature is just not valid. */
function isSignatureValid(digest: string, content: Uint8Array, spki: Buffer, signature: Uint8Array): Result<boolean, string> {
  try {
    return ok(verify(digest, content, { key: spki, format: "der", type: "spki" }, signature));
  } catch {
    return err(unsupportedKey);
  }
}
