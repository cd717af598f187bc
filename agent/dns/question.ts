/** What a message asks, as it stands in its bytes. */
export interface RawQuestion {
  /** As it was written, without the final dot; undefined where a label holds what no host name of ours does. */
  readonly name: string | undefined;
  readonly type: number;
  readonly class: number;
  /** The section's bytes, to be repeated as they are. */
  readonly bytes: Buffer;
}

const HEADER_BYTES = 12;
const MAX_NAME_BYTES = 255;
/** Letters, digits, hyphen and underscore. */
const LABEL = /^[A-Za-z0-9_-]+$/;

/**
 * Reads the first question, and nothing of what follows it: a query for
 * somebody else's name may hold whatever its resolver understands. Names in a
 * question are never compressed (RFC 1035 §4.1.4: there is nothing before them).
 *
 * @returns undefined for a message without a whole one
 */
export function readQuestion(message: Buffer): RawQuestion | undefined {
  if (message.length < HEADER_BYTES || message.readUInt16BE(4) === 0) return undefined;
  const labels: string[] = [];
  let isPlain = true;
  let at = HEADER_BYTES;
  for (;;) {
    const length = message[at];
    if (length === undefined || length > 63) return undefined;
    at += 1;
    if (length === 0) break;
    const label = message.toString("latin1", at, at + length);
    isPlain &&= LABEL.test(label);
    labels.push(label);
    at += length;
    if (at - HEADER_BYTES >= MAX_NAME_BYTES) return undefined;
  }
  if (at + 4 > message.length) return undefined;
  return { name: isPlain ? labels.join(".") : undefined, type: message.readUInt16BE(at), class: message.readUInt16BE(at + 2), bytes: message.subarray(HEADER_BYTES, at + 4) };
}
