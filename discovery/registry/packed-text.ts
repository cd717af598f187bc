import { deflateRawSync, inflateRawSync } from "node:zlib";

/**
 * Characters from which a text is packed: a store takes a mebibyte for a value,
 * and one service of three thousand machines is more. What its instances say is
 * much alike, so that it becomes a tenth, in a few milliseconds.
 */
const PACKED_FROM = 262_144;
/** Begins no JSON. */
const MARK = "deflate:";

/** The text, or less that `unpackText` makes it of again. */
export function packText(text: string): string {
  return text.length < PACKED_FROM ? text : MARK + deflateRawSync(text, { level: 1 }).toString("base64");
}

export function unpackText(stored: string): string {
  return stored.startsWith(MARK) ? inflateRawSync(Buffer.from(stored.slice(MARK.length), "base64")).toString() : stored;
}
