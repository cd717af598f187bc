import packet from "dns-packet";
import type { Answer, OptAnswer } from "dns-packet";

export const rcode = { noError: 0, formatError: 1, serverFailure: 2, nameError: 3, notImplemented: 4, badVersion: 16 } as const;
/** Header bits (RFC 1035 §4.1.1). */
const flag = { response: 0x8000, opcode: 0x7800, authoritative: 0x400, truncated: 0x200, recursionDesired: 0x100, recursionAvailable: 0x80 } as const;

const HEADER_BYTES = 12;

export interface ReplyContent {
  readonly code: number;
  readonly answers: readonly Answer[];
  readonly authorities: readonly Answer[];
  /** What spares the client a further query; left out before anything is cut. */
  readonly additionals: readonly Answer[];
}

/**
 * A reply to a query of one question, which it repeats byte by byte: clients
 * compare its case (0x20). What is longer than `limit` is cut to nothing and marked.
 */
export function encodeReply(query: Buffer, question: Buffer, opt: OptAnswer | undefined, content: ReplyContent, size: { readonly limit: number; readonly ednsBytes: number }): Buffer {
  const badVersion = opt !== undefined && opt.ednsVersion !== 0;
  const edns = opt === undefined ? [] : [ednsOf(badVersion, size.ednsBytes)];
  const flags = flag.authoritative | (query.readUInt16BE(2) & flag.recursionDesired) | flag.recursionAvailable | (badVersion ? rcode.noError : content.code);
  const write = (answers: readonly Answer[], authorities: readonly Answer[], additionals: readonly Answer[], truncated: number): Buffer => {
    const sections = { answers: [...answers], authorities: [...authorities], additionals: [...additionals, ...edns] };
    // No name in it points back, so that the question can be put before it.
    const bytes = packet.encode({ type: "response", id: query.readUInt16BE(0), flags: flags | truncated, ...sections });
    bytes.writeUInt16BE(1, 4);
    return Buffer.concat([bytes.subarray(0, HEADER_BYTES), question, bytes.subarray(HEADER_BYTES)]);
  };
  if (badVersion) return write([], [], [], 0);
  const whole = write(content.answers, content.authorities, content.additionals, 0);
  if (whole.length <= size.limit) return whole;
  const bare = write(content.answers, content.authorities, [], 0);
  return bare.length <= size.limit ? bare : write([], [], [], flag.truncated);
}

function ednsOf(badVersion: boolean, udpPayloadSize: number): OptAnswer {
  return { type: "OPT", name: ".", udpPayloadSize, extendedRcode: badVersion ? rcode.badVersion >> 4 : 0, ednsVersion: 0, flags: 0, flag_do: false, options: [] };
}

/** The client's header with an error code; the question is not repeated, because it may be what is broken. */
export function headerOnly(query: Buffer, code: number): Buffer {
  const header = Buffer.alloc(12);
  header.writeUInt16BE(query.readUInt16BE(0), 0);
  header.writeUInt16BE(flag.response | (query.readUInt16BE(2) & (flag.opcode | flag.recursionDesired)) | flag.recursionAvailable | code, 2);
  return header;
}
