import asn1 from "node-forge/lib/asn1.js";
import type { Asn1Node } from "node-forge/lib/asn1.js";

export type { Asn1Node };

/**
 * DER (X.690), written here and read by node-forge's codec. Writing with forge
 * took several times as long as the signature itself; a writer is 40 lines, while
 * a reader of strangers' bytes had better be an old one.
 */

/** One encoded value as a binary string: joining those is the fastest that JavaScript does. */
export type Der = string & { readonly __der: true };

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

const universal = 0x00;
const contextSpecific = 0x80;
const constructed = 0x20;

/** No structure that we read nests deeper: an extension in a request's attribute is at 9. */
const maxDepth = 16;

/** The few identifiers that we write and look for, encoded once. */
const identifiers = new Map<string, Der>();

export function sequence(...members: readonly Der[]): Der {
  return tagged(constructed | tags.sequence, members.join(""));
}

export function setOf(...members: readonly Der[]): Der {
  return tagged(constructed | tags.set, members.join(""));
}

/** @param oid dotted, `2.5.29.15`; a constant of the program */
export function objectIdentifier(oid: string): Der {
  const known = identifiers.get(oid);
  if (known !== undefined) return known;
  const encoded = tagged(tags.objectIdentifier, asn1.oidToDer(oid).getBytes());
  identifiers.set(oid, encoded);
  return encoded;
}

/** @param bigEndian two's complement, minimal; the caller keeps the top bit clear for a positive number */
export function integer(bigEndian: Uint8Array): Der {
  return tagged(tags.integer, toBinary(bigEndian));
}

export function trueValue(): Der {
  return tagged(tags.boolean, "\u00ff");
}

export function utf8String(text: string): Der {
  return tagged(tags.utf8String, toBinary(Buffer.from(text, "utf8")));
}

export function octetString(bytes: Uint8Array | Der): Der {
  return tagged(tags.octetString, typeof bytes === "string" ? bytes : toBinary(bytes));
}

/** @param unusedBits how many of the last byte's low bits do not count */
export function bitString(bytes: Uint8Array, unusedBits = 0): Der {
  return tagged(tags.bitString, String.fromCharCode(unusedBits) + toBinary(bytes));
}

/** `[tag] IMPLICIT` of a primitive type. */
export function contextPrimitive(tag: number, bytes: Uint8Array): Der {
  return tagged(contextSpecific | tag, toBinary(bytes));
}

/** `[tag] EXPLICIT`, or `[tag] IMPLICIT` of a constructed type. */
export function contextConstructed(tag: number, ...members: readonly Der[]): Der {
  return tagged(contextSpecific | constructed | tag, members.join(""));
}

/** A `Time` in UTC, to the second: UTCTime through 2049 and GeneralizedTime after (RFC 5280 §4.1.2.5). */
export function time(epochMs: number): Der {
  const iso = new Date(epochMs).toISOString();
  const digits = `${iso.slice(0, 4)}${iso.slice(5, 7)}${iso.slice(8, 10)}${iso.slice(11, 13)}${iso.slice(14, 16)}${iso.slice(17, 19)}Z`;
  return digits < "2050" ? tagged(tags.utcTime, digits.slice(2)) : tagged(tags.generalizedTime, digits);
}

/** Bytes that are one encoded value already. */
export function encoded(der: Uint8Array): Der {
  return toBinary(der) as Der;
}

export function toBytes(der: Der): Buffer {
  return Buffer.from(der, "latin1");
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

/** The bytes that a node was read from. */
export function encodeNode(node: Asn1Node): Buffer {
  return Buffer.from(asn1.toDer(node).getBytes(), "latin1");
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

/** True for this identifier. */
export function isObjectIdentifier(node: Asn1Node | undefined, oid: string): boolean {
  const contents = contentsOf(node, tags.objectIdentifier);
  // Behind its tag and its length, which is one byte for any that we know.
  return contents?.toString("latin1") === objectIdentifier(oid).slice(2);
}

function tagged(identifierByte: number, contents: string): Der {
  return (String.fromCharCode(identifierByte) + lengthOf(contents.length) + contents) as Der;
}

/** X.690 §8.1.3 with the fewest bytes (§10.1). */
function lengthOf(length: number): string {
  if (length < 0x80) return String.fromCharCode(length);
  if (length < 0x100) return String.fromCharCode(0x81, length);
  if (length < 0x1_0000) return String.fromCharCode(0x82, length >> 8, length & 0xff);
  throw new Error(`a value of ${length} bytes is none of ours`);
}

function toBinary(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
}
