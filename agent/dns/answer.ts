import packet from "dns-packet";
import type { Answer, DecodedPacket, OptAnswer, Packet, Question } from "dns-packet";

import { lookUpName } from "./name-table.ts";
import type { NameTable } from "./name-table.ts";

export const TTL_SECONDS = 30;
/** RFC 1035 §4.2.1, and the size that survives any path without fragments (DNS flag day 2020). */
const PLAIN_UDP_BYTES = 512;
const EDNS_UDP_BYTES = 1_232;

const rcode = { noError: 0, formatError: 1, serverFailure: 2, nameError: 3, notImplemented: 4, badVersion: 16 } as const;
/** Header bits (RFC 1035 §4.1.1). */
const flag = { authoritative: 0x400, truncated: 0x200, recursionDesired: 0x100, recursionAvailable: 0x80 } as const;

/** What is to be done with what a client sent. */
export type Verdict =
  | { readonly kind: "reply"; readonly bytes: Buffer }
  /** Somebody else's name: the bytes go to the host's own resolvers as they are. */
  | { readonly kind: "forward" }
  /** No query at all: any answer could start a loop. */
  | { readonly kind: "ignore" };

/**
 * Judges one message of a client.
 *
 * @param transport over UDP a long answer is cut and marked, so that the client comes back by TCP
 */
export function judgeQuery(message: Buffer, table: NameTable, searchDomains: readonly string[], transport: "udp" | "tcp"): Verdict {
  if (message.length < 12 || (message.readUInt8(2) & 0x80) !== 0) return { kind: "ignore" };
  let query: DecodedPacket;
  try {
    query = packet.decode(message);
  } catch {
    return { kind: "reply", bytes: headerOnly(message, rcode.formatError) };
  }
  if ((message.readUInt8(2) & 0x78) !== 0) return { kind: "reply", bytes: headerOnly(message, rcode.notImplemented) };
  const question = query.questions?.[0];
  if (question === undefined || query.questions?.length !== 1) return { kind: "reply", bytes: headerOnly(message, rcode.formatError) };
  if ((question.class ?? "IN") !== "IN") return { kind: "forward" };
  const found = lookUpName(table, question.name, searchDomains);
  if (found.kind === "foreign") return { kind: "forward" };
  const opt = query.additionals?.find((extra): extra is OptAnswer => extra.type === "OPT");
  const limit = transport === "tcp" ? 65_535 : Math.max(PLAIN_UDP_BYTES, Math.min(opt?.udpPayloadSize ?? PLAIN_UDP_BYTES, EDNS_UDP_BYTES));
  const reply = (code: number, answers: Answer[], authorities: Answer[]): Verdict => ({
    kind: "reply",
    bytes: encodeReply(message, question, opt, { code, answers, authorities }, limit),
  });
  const ownDomain = table.ownDomains.find((domain) => question.name.toLowerCase().replace(/\.$/, "").endsWith(domain)) ?? question.name;
  if (found.kind === "unknown-yet") return reply(rcode.serverFailure, [], []);
  if (found.kind === "absent") return reply(rcode.nameError, [], [startOfAuthority(ownDomain)]);

  const { canonical, entry } = found;
  const wants = (type: string): boolean => question.type === type || question.type === ("ANY" as typeof question.type);
  const isRenamed = canonical !== question.name.toLowerCase().replace(/\.$/, "");
  // The owner's name is written as it was asked for: resolvers check its case.
  const owner = isRenamed ? canonical : question.name;
  const addresses: Answer[] = [
    ...(wants("A") ? entry.v4.map((data): Answer => ({ type: "A", name: owner, ttl: TTL_SECONDS, data })) : []),
    ...(wants("AAAA") ? entry.v6.map((data): Answer => ({ type: "AAAA", name: owner, ttl: TTL_SECONDS, data })) : []),
  ];
  const alias: Answer[] = isRenamed ? [{ type: "CNAME", name: question.name, ttl: TTL_SECONDS, data: canonical }] : [];
  return reply(rcode.noError, [...alias, ...addresses], addresses.length === 0 ? [startOfAuthority(ownDomain)] : []);
}

/** `SERVFAIL` for a query that nobody could answer. */
export function failedReply(query: Buffer): Buffer {
  return headerOnly(query, rcode.serverFailure);
}

/** Says how long "no" may be remembered (RFC 2308 §5). */
function startOfAuthority(name: string): Answer {
  return {
    type: "SOA",
    name,
    ttl: TTL_SECONDS,
    data: { mname: `ns.${name}`, rname: `hostmaster.${name}`, serial: 1, refresh: 3_600, retry: 600, expire: 86_400, minimum: TTL_SECONDS },
  };
}

interface ReplyContent {
  readonly code: number;
  readonly answers: Answer[];
  readonly authorities: Answer[];
}

function encodeReply(query: Buffer, question: Question, opt: OptAnswer | undefined, content: ReplyContent, limit: number): Buffer {
  const recursionDesired = query.readUInt16BE(2) & flag.recursionDesired;
  const badVersion = opt !== undefined && opt.ednsVersion !== 0;
  const additionals = opt === undefined ? [] : [ednsOf(badVersion)];
  const base: Packet = {
    type: "response",
    id: query.readUInt16BE(0),
    flags: flag.authoritative | flag.recursionAvailable | recursionDesired | (badVersion ? rcode.noError : content.code),
    questions: [question],
    additionals,
  };
  const whole = packet.encode(badVersion ? base : { ...base, answers: content.answers, authorities: content.authorities });
  if (whole.length <= limit) return whole;
  return packet.encode({ ...base, flags: (base.flags ?? 0) | flag.truncated });
}

function ednsOf(badVersion: boolean): OptAnswer {
  return { type: "OPT", name: ".", udpPayloadSize: EDNS_UDP_BYTES, extendedRcode: badVersion ? rcode.badVersion >> 4 : 0, ednsVersion: 0, flags: 0, flag_do: false, options: [] };
}

/** The client's header with an error code; the question is not repeated, because it may be what is broken. */
function headerOnly(query: Buffer, code: number): Buffer {
  const header = Buffer.alloc(12);
  header.writeUInt16BE(query.readUInt16BE(0), 0);
  header.writeUInt16BE(0x80_00 | (query.readUInt16BE(2) & (0x78_00 | flag.recursionDesired)) | flag.recursionAvailable | code, 2);
  return header;
}
