import packet from "dns-packet";
import type { Answer, OptAnswer } from "dns-packet";

import { lookUpName } from "./name-table.ts";
import type { NameAnswer, NameEntry, NameTable } from "./name-table.ts";
import { readQuestion } from "./question.ts";
import type { RawQuestion } from "./question.ts";
import { encodeReply, headerOnly, rcode } from "./reply.ts";
import type { ReplyContent } from "./reply.ts";

export const TTL_SECONDS = 30;
/** RFC 1035 §4.2.1, and the size that survives any path without fragments (DNS flag day 2020). */
const PLAIN_UDP_BYTES = 512;
const EDNS_UDP_BYTES = 1_232;
/** One target: there is nothing to choose. Not 0, by which some clients divide. */
const SRV_PRIORITY = 0;
const SRV_WEIGHT = 100;

const CLASS_IN = 1;
const TYPE = { A: 1, PTR: 12, AAAA: 28, SRV: 33, ANY: 255 } as const;

/** What is to be done with what a client sent. */
export type Verdict =
  | { readonly kind: "reply"; readonly bytes: Buffer }
  /** Somebody else's name: the bytes go to the host's own resolvers as they are. `otherwise` is the answer where these have none. */
  | { readonly kind: "forward"; readonly otherwise?: Buffer }
  /** No query at all: any answer could start a loop. */
  | { readonly kind: "ignore" };

/** What an answer depends on beside the question. */
export interface Knowledge {
  readonly table: NameTable;
  readonly searchDomains: readonly string[];
  /** Whether this host has a way to the virtual addresses of IPv6; they are not told where it has none. */
  readonly reachesIpv6: boolean;
  /** Over UDP a long answer is cut and marked, so that the client comes back by TCP. */
  readonly transport: "udp" | "tcp";
}

/** Judges one message of a client. */
export function judgeQuery(message: Buffer, knowledge: Knowledge): Verdict {
  if (message.length < 12 || (message.readUInt8(2) & 0x80) !== 0) return { kind: "ignore" };
  if ((message.readUInt8(2) & 0x78) !== 0) return { kind: "reply", bytes: headerOnly(message, rcode.notImplemented) };
  const question = readQuestion(message);
  if (question === undefined || message.readUInt16BE(4) !== 1) return { kind: "reply", bytes: headerOnly(message, rcode.formatError) };
  if (question.class !== CLASS_IN || question.name === undefined) return { kind: "forward" };
  const found = lookUpName(knowledge.table, question.name, knowledge.searchDomains);
  if (found.kind === "foreign") return { kind: "forward" };
  // What follows the question is our business only where the name is.
  let opt: OptAnswer | undefined;
  try {
    const options = packet.decode(message).additionals?.filter((extra): extra is OptAnswer => extra.type === "OPT") ?? [];
    if (options.length > 1) throw new Error("RFC 6891 §6.1.1 allows one");
    opt = options[0];
  } catch {
    return { kind: "reply", bytes: headerOnly(message, rcode.formatError) };
  }
  const limit = knowledge.transport === "tcp" ? 65_535 : Math.max(PLAIN_UDP_BYTES, Math.min(opt?.udpPayloadSize ?? PLAIN_UDP_BYTES, EDNS_UDP_BYTES));
  const content = contentOf(question.name, question, found, knowledge);
  if (content === undefined) return { kind: "forward" };
  const bytes = encodeReply(message, question.bytes, opt, content, { limit, ednsBytes: EDNS_UDP_BYTES });
  const isOurs = found.kind === "found" ? found.isOurs : found.kind !== "reverse";
  return isOurs ? { kind: "reply", bytes } : { kind: "forward", otherwise: bytes };
}

function contentOf(asked: string, { type }: RawQuestion, found: Exclude<NameAnswer, { kind: "foreign" }>, knowledge: Knowledge): ReplyContent | undefined {
  const authority = startOfAuthority(knowledge.table.ownDomains.find((domain) => asked.toLowerCase().endsWith(domain)) ?? asked);
  if (found.kind === "unknown-yet") return { code: rcode.serverFailure, answers: [], authorities: [], additionals: [] };
  if (found.kind === "absent") return { code: rcode.nameError, answers: [], authorities: [authority], additionals: [] };
  if (found.kind === "reverse") {
    if (type !== TYPE.PTR && type !== TYPE.ANY) return undefined;
    return { code: rcode.noError, answers: [{ type: "PTR", name: asked, ttl: TTL_SECONDS, data: found.canonical }], authorities: [], additionals: [] };
  }
  const isRenamed = found.name !== asked.toLowerCase();
  // The owner's name is written as it was asked for: resolvers check its case.
  const owner = isRenamed ? found.name : asked;
  const wants = (one: number): boolean => type === one || type === TYPE.ANY;
  const records = [
    ...(found.asks === "address" ? addressesOf(owner, found.entry, knowledge, wants) : []),
    ...(type === TYPE.SRV ? found.ports.map(({ number }): Answer => ({ type: "SRV", name: owner, ttl: TTL_SECONDS, data: { priority: SRV_PRIORITY, weight: SRV_WEIGHT, port: number, target: found.entry.canonical } })) : []),
  ];
  const alias: Answer[] = isRenamed ? [{ type: "CNAME", name: asked, ttl: TTL_SECONDS, data: found.name }] : [];
  return {
    code: rcode.noError,
    answers: [...alias, ...records],
    authorities: records.length === 0 ? [authority] : [],
    additionals: type === TYPE.SRV && records.length > 0 ? addressesOf(found.entry.canonical, found.entry, knowledge, () => true) : [],
  };
}

function addressesOf(owner: string, { v4, v6 }: NameEntry, { reachesIpv6 }: Knowledge, wants: (type: number) => boolean): Answer[] {
  return [
    ...(wants(TYPE.A) ? v4.map((data): Answer => ({ type: "A", name: owner, ttl: TTL_SECONDS, data })) : []),
    ...(wants(TYPE.AAAA) && reachesIpv6 ? v6.map((data): Answer => ({ type: "AAAA", name: owner, ttl: TTL_SECONDS, data })) : []),
  ];
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
