import asn1 from "node-forge/lib/asn1.js";
import type { Asn1Node } from "node-forge/lib/asn1.js";

export type { Asn1Node };

/**
 * ASN.1 values as node-forge's codec holds them, and their DER (X.690). Forge
 * speaks binary strings; everything that leaves this file is bytes.
 */

const universal = 0x00;
const contextSpecific = 0x80;

/** Universal tag numbers (X.680 §8.6). */
export const tags = {
  boolean: 1,
  integer: 2,
  bitString: 3,
  octetString: 4,
  objectIdentifier: 6,
  utf8String: 12,
  sequence: 16,
  set: 17,
  utcTime: 23,
  generalizedTime: 24,
} as const;

/** No structure that we read nests deeper: an extension in a request's attribute is at 9. */
const maxDepth = 16;

export function sequence(...members: Asn1Node[]): Asn1Node {
  return asn1.create(universal, tags.sequence, true, members);
}

export function setOf(...members: Asn1Node[]): Asn1Node {
  return asn1.create(universal, tags.set, true, members);
}

/** @param oid dotted, `2.5.29.15` */
export function objectIdentifier(oid: string): Asn1Node {
  return asn1.create(universal, tags.objectIdentifier, false, asn1.oidToDer(oid).getBytes());
}

/** @param bigEndian two's complement, minimal; the caller keeps the top bit clear for a positive number */
export function integer(bigEndian: Uint8Array): Asn1Node {
  return primitive(tags.integer, bigEndian);
}

export function trueValue(): Asn1Node {
  return primitive(tags.boolean, Uint8Array.of(0xff));
}

export function utf8String(text: string): Asn1Node {
  return primitive(tags.utf8String, Buffer.from(text, "utf8"));
}

export function octetString(bytes: Uint8Array): Asn1Node {
  return primitive(tags.octetString, bytes);
}

/** @param unusedBits how many of the last byte's low bits do not count */
export function bitString(bytes: Uint8Array, unusedBits = 0): Asn1Node {
  return primitive(tags.bitString, Buffer.concat([Uint8Array.of(unusedBits), bytes]));
}

/** `[tag] IMPLICIT` of a primitive type. */
export function contextPrimitive(tag: number, bytes: Uint8Array): Asn1Node {
  return asn1.create(contextSpecific, tag, false, toBinary(bytes));
}

/** `[tag] EXPLICIT`, or `[tag] IMPLICIT` of a constructed type. */
export function contextConstructed(tag: number, ...members: Asn1Node[]): Asn1Node {
  return asn1.create(contextSpecific, tag, true, members);
}

/** A `Time` in UTC, to the second: UTCTime through 2049 and GeneralizedTime after (RFC 5280 §4.1.2.5). */
export function time(epochMs: number): Asn1Node {
  const digits = new Date(epochMs).toISOString().replaceAll(/\.\d+|[-:T]/g, "");
  const isShort = digits < "2050";
  return primitive(isShort ? tags.utcTime : tags.generalizedTime, Buffer.from(isShort ? digits.slice(2) : digits, "ascii"));
}

export function encodeDer(node: Asn1Node): Buffer {
  return Buffer.from(asn1.toDer(node).getBytes(), "latin1");
}

/**
 * Reads exactly one value. Only DER is read: what would be written with other
 * bytes (an indefinite or padded length, trailing bytes) gives `undefined`, so
 * that no two readers of the same bytes can see different things in them.
 */
export function decodeDer(bytes: Uint8Array): Asn1Node | undefined {
  const binary = toBinary(bytes);
  try {
    const node = asn1.fromDer(binary, { strict: true, parseAllBytes: true, decodeBitStrings: false, maxDepth });
    return asn1.toDer(node).getBytes() === binary ? node : undefined;
  } catch {
    return undefined;
  }
}

/** The members of a universal constructed value with this tag. */
export function membersOf(node: Asn1Node | undefined, tag: number): readonly Asn1Node[] | undefined {
  if (node?.tagClass !== universal || node.type !== tag || !node.constructed) return undefined;
  return typeof node.value === "string" ? undefined : node.value;
}

/** The contents of a universal primitive value with this tag. */
export function contentsOf(node: Asn1Node | undefined, tag: number): Buffer | undefined {
  if (node?.tagClass !== universal || node.type !== tag || node.constructed) return undefined;
  return typeof node.value === "string" ? Buffer.from(node.value, "latin1") : undefined;
}

/** The members of a context-specific constructed value with this tag. */
export function contextMembersOf(node: Asn1Node | undefined, tag: number): readonly Asn1Node[] | undefined {
  if (node?.tagClass !== contextSpecific || node.type !== tag || !node.constructed) return undefined;
  return typeof node.value === "string" ? undefined : node.value;
}

/** True for the identifier with exactly these contents. */
export function isObjectIdentifier(node: Asn1Node | undefined, oid: string): boolean {
  return contentsOf(node, tags.objectIdentifier)?.equals(objectIdentifierContents(oid)) ?? false;
}

function objectIdentifierContents(oid: string): Buffer {
  return Buffer.from(asn1.oidToDer(oid).getBytes(), "latin1");
}

function primitive(tag: number, contents: Uint8Array): Asn1Node {
  return asn1.create(universal, tag, false, toBinary(contents));
}

function toBinary(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
}
