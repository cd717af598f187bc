import { createHash, randomBytes, sign } from "node:crypto";
import type { KeyObject } from "node:crypto";

import {
  bitString,
  contentsOf,
  contextConstructed,
  contextPrimitive,
  decodeDer,
  encodeNode,
  encoded,
  integer,
  isObjectIdentifier,
  membersOf,
  objectIdentifier,
  octetString,
  sequence,
  setOf,
  tags,
  time,
  toBytes,
  trueValue,
  utf8String,
} from "./der.ts";
import type { Der } from "./der.ts";
import { objectIdentifiers } from "./object-identifiers.ts";

export interface DistinguishedName {
  readonly organization: string;
  readonly commonName?: string;
}

/** A name that the certificate's holder may show (RFC 5280 §4.2.1.6). ASCII only. */
export type SubjectAlternativeName =
  | { readonly type: "uri"; readonly value: string }
  | { readonly type: "dns"; readonly value: string };

/** What the key may do (RFC 5280 §4.2.1.3); the number is the bit. */
const keyUsageBits = { digitalSignature: 0, keyCertSign: 5, crlSign: 6 } as const;
export type KeyUsage = keyof typeof keyUsageBits;

export type ExtendedKeyUsage = "serverAuth" | "clientAuth";

/** Everything that a certificate says. */
export interface CertificateContent {
  /** Big-endian, 1 to 20 bytes, top bit of the first clear and the first byte not 0. */
  readonly serial: Uint8Array;
  readonly subject: DistinguishedName;
  /** Cut to whole seconds. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** SubjectPublicKeyInfo, DER. */
  readonly spki: Uint8Array;
  readonly names: readonly SubjectAlternativeName[];
  readonly keyUsage: readonly KeyUsage[];
  readonly extendedKeyUsage: readonly ExtendedKeyUsage[];
  /** Set for a certificate that may sign others. */
  readonly authority?: { readonly maxPathLength: number };
}

/** Who signs: an ECDSA P-256 key and its name. */
export interface CertificateIssuer {
  /** `Name`, DER, exactly as in the issuer's own certificate. */
  readonly name: Uint8Array;
  readonly keyIdentifier: Uint8Array;
  readonly privateKey: KeyObject;
}

/** 128 random bits as a positive number of 16 bytes (CA/Browser Forum asks for 64). */
export function randomSerial(): Uint8Array {
  const serial = randomBytes(16);
  serial[0] = 0x40 | (serial.readUInt8(0) & 0x3f);
  return serial;
}

/** Signs with ECDSA and SHA-256; the result is DER. */
export function signCertificate(content: CertificateContent, issuer: CertificateIssuer): Buffer {
  const { serial, subject, notBeforeMs, notAfterMs, spki } = content;
  const algorithm = sequence(objectIdentifier(objectIdentifiers.ecdsaWithSha256));
  const body = sequence(
    contextConstructed(0, integer(Uint8Array.of(2))),
    integer(serial),
    algorithm,
    encoded(issuer.name),
    sequence(time(notBeforeMs), time(notAfterMs)),
    nameOf(subject),
    encoded(spki),
    contextConstructed(3, sequence(...extensions(content, issuer))),
  );
  const signature = sign("sha256", toBytes(body), issuer.privateKey);
  return toBytes(sequence(body, algorithm, bitString(signature)));
}

/** A certificate that its own key signed: a root. */
export function signRootCertificate(content: CertificateContent, privateKey: KeyObject): Buffer {
  const name = toBytes(nameOf(content.subject));
  return signCertificate(content, { name, keyIdentifier: keyIdentifier(content.spki), privateKey });
}

/** The issuer that an authority's certificate and its key make; `undefined` where the bytes are not such a certificate. */
export function readIssuer(certificate: Uint8Array, privateKey: KeyObject): CertificateIssuer | undefined {
  const [body] = membersOf(decodeDer(certificate), tags.sequence) ?? [];
  const [, , , , , subject, , extensionsNode] = membersOf(body, tags.sequence) ?? [];
  const [list] = typeof extensionsNode?.value === "object" ? extensionsNode.value : [];
  for (const extension of membersOf(list, tags.sequence) ?? []) {
    const members = membersOf(extension, tags.sequence) ?? [];
    if (!isObjectIdentifier(members[0], objectIdentifiers.subjectKeyIdentifier)) continue;
    const wrapped = contentsOf(members.at(-1), tags.octetString);
    const identifier = wrapped === undefined ? undefined : contentsOf(decodeDer(wrapped), tags.octetString);
    if (identifier === undefined || membersOf(subject, tags.sequence) === undefined || subject === undefined) return undefined;
    return { name: encodeNode(subject), keyIdentifier: identifier, privateKey };
  }
  return undefined;
}

/** The SHA-256 of the SubjectPublicKeyInfo (RFC 7093 §2, method 4): the name that the key has everywhere in the mesh. */
export function keyIdentifier(spki: Uint8Array): Buffer {
  return createHash("sha256").update(spki).digest();
}

function extensions(content: CertificateContent, issuer: CertificateIssuer): Der[] {
  const { names, spki, authority } = content;
  const list = [
    extension(objectIdentifiers.keyUsage, true, keyUsageOf(content.keyUsage)),
    extension(objectIdentifiers.basicConstraints, true, basicConstraintsOf(authority)),
    extension(objectIdentifiers.subjectKeyIdentifier, false, octetString(keyIdentifier(spki))),
    extension(objectIdentifiers.authorityKeyIdentifier, false, sequence(contextPrimitive(0, issuer.keyIdentifier))),
  ];
  if (content.extendedKeyUsage.length > 0) {
    const purposes = content.extendedKeyUsage.map((purpose) => objectIdentifier(objectIdentifiers[purpose]));
    list.push(extension(objectIdentifiers.extendedKeyUsage, false, sequence(...purposes)));
  }
  if (names.length > 0) {
    const generalNames = names.map(({ type, value }) => contextPrimitive(type === "dns" ? 2 : 6, Buffer.from(value, "ascii")));
    list.push(extension(objectIdentifiers.subjectAlternativeName, false, sequence(...generalNames)));
  }
  return list;
}

function extension(oid: string, isCritical: boolean, value: Der): Der {
  const wrapped = octetString(value);
  return isCritical ? sequence(objectIdentifier(oid), trueValue(), wrapped) : sequence(objectIdentifier(oid), wrapped);
}

function keyUsageOf(usages: readonly KeyUsage[]): Der {
  const bits = usages.map((usage) => keyUsageBits[usage]);
  const byte = bits.reduce<number>((sum, bit) => sum | (0x80 >> bit), 0);
  return bitString(Uint8Array.of(byte), 7 - Math.max(...bits));
}

function basicConstraintsOf(authority: CertificateContent["authority"]): Der {
  return authority === undefined ? sequence() : sequence(trueValue(), integer(Uint8Array.of(authority.maxPathLength)));
}

function nameOf({ organization, commonName }: DistinguishedName): Der {
  const parts = [nameAttribute(objectIdentifiers.organizationName, organization)];
  if (commonName !== undefined) parts.push(nameAttribute(objectIdentifiers.commonName, commonName));
  return sequence(...parts);
}

function nameAttribute(oid: string, value: string): Der {
  return setOf(sequence(objectIdentifier(oid), utf8String(value)));
}
