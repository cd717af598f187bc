import assert from "node:assert/strict";

import packet from "dns-packet";
import type { Answer, DecodedPacket, Packet, RecordType } from "dns-packet";
import { array, assert as check, constantFrom, integer, oneof, property, string, uint8Array, webUrl } from "fast-check";

import { judgeQuery } from "../../../../agent/dns/answer.ts";
import type { Knowledge, Verdict } from "../../../../agent/dns/answer.ts";
import { buildNameTable, EMPTY_NAME_TABLE } from "../../../../agent/dns/name-table.ts";
import { parseResolvConf } from "../../../../agent/dns/resolv-conf.ts";

const REVIEWS = "reviews.shop.svc.mesh.internal";
const KNOWLEDGE: Knowledge = {
  table: buildNameTable(
    [
      {
        name: REVIEWS,
        addresses: ["240.240.0.5", "2001:2::5"],
        aliases: ["reviews.service.consul", "reviews.service.dc1.consul", "reviews.shop.svc.cluster.local", "reviews.consul.svc.mesh.internal"],
        ports: [{ name: "http", number: 8_080, protocol: "HTTP" }, { name: "http-admin", number: 8_081, protocol: "HTTP" }, { name: "rpc", number: 9_000, protocol: "GRPC" }],
      },
      { name: "db.example.com", addresses: ["10.9.0.9"] },
      { name: "wide.shop.svc.mesh.internal", addresses: Array.from({ length: 60 }, (_, index) => `10.0.0.${index}`), ports: [{ name: "tcp", number: 5_432, protocol: "TCP" }] },
    ],
    ["mesh.internal"],
  ),
  searchDomains: [],
  reachesIpv6: true,
  transport: "udp",
};

function queryOf(name: string, type: RecordType, edns?: number): Buffer {
  return packet.encode({
    type: "query",
    id: 77,
    flags: packet.RECURSION_DESIRED,
    questions: [{ type, name }],
    ...(edns === undefined ? {} : { additionals: [ednsOf(edns)] }),
  });
}

function ednsOf(udpPayloadSize: number, ednsVersion = 0): NonNullable<Packet["additionals"]>[number] {
  return { type: "OPT", name: ".", udpPayloadSize, extendedRcode: 0, ednsVersion, flags: 0, flag_do: false, options: [] };
}

interface Seen {
  readonly code: string;
  readonly answers: readonly string[];
  readonly authorities: readonly string[];
  readonly additionals: readonly string[];
  readonly truncated: boolean;
  readonly edns: boolean;
  readonly question: string | undefined;
}

/** How the name is answered by us, or where others know none; or what else becomes of the query. */
function ask(name: string, type: RecordType = "A", options: Partial<Knowledge> & { readonly edns?: number } = {}): { readonly verdict: Verdict["kind"]; readonly reply: Seen | undefined } {
  const query = queryOf(name, type, options.edns);
  const verdict = judgeQuery(query, { ...KNOWLEDGE, ...options });
  const bytes = verdict.kind === "reply" ? verdict.bytes : verdict.kind === "forward" ? verdict.otherwise : undefined;
  if (bytes === undefined) return { verdict: verdict.kind, reply: undefined };
  const reply = packet.decode(bytes);
  assert.equal(reply.id, 77);
  return { verdict: verdict.kind, reply: seen(reply) };
}

function seen(reply: DecodedPacket): Seen {
  const lines = (answers: readonly Answer[] | undefined): string[] => (answers ?? []).filter(({ type }) => type !== "OPT").map(textOf);
  return {
    code: (reply as unknown as { rcode: string }).rcode,
    answers: lines(reply.answers),
    authorities: lines(reply.authorities),
    additionals: lines(reply.additionals),
    truncated: reply.flag_tc,
    edns: (reply.additionals ?? []).some((one) => one.type === "OPT"),
    question: reply.questions?.[0]?.name,
  };
}

function textOf(answer: Answer): string {
  if (answer.type === "SOA") return `SOA ${answer.name}`;
  if (answer.type === "SRV") {
    const { priority, weight, port, target } = answer.data;
    return `${answer.name} SRV 30 ${priority} ${weight} ${port} ${target}`;
  }
  return `${answer.name} ${answer.type} ${"ttl" in answer ? answer.ttl : ""} ${"data" in answer && typeof answer.data === "string" ? answer.data : ""}`;
}

describe("DNS answers", () => {
  it("answers names of the mesh in both families, in the case that they were asked in", () => {
    assert.deepEqual(ask("Reviews.Shop.svc.mesh.INTERNAL"), {
      verdict: "reply",
      reply: { code: "NOERROR", answers: ["Reviews.Shop.svc.mesh.INTERNAL A 30 240.240.0.5"], authorities: [], additionals: [], truncated: false, edns: false, question: "Reviews.Shop.svc.mesh.INTERNAL" },
    });
    // Another registry's service that was joined with it.
    assert.deepEqual([ask("reviews.consul.svc.mesh.internal").verdict, ask("reviews.consul.svc.mesh.internal").reply?.answers], ["reply", ["reviews.consul.svc.mesh.internal A 30 240.240.0.5"]]);
    assert.deepEqual(ask(REVIEWS, "AAAA").reply?.answers, [`${REVIEWS} AAAA 30 2001:2::5`]);
    assert.deepEqual(ask(REVIEWS, "ANY" as RecordType).reply?.answers, [`${REVIEWS} A 30 240.240.0.5`, `${REVIEWS} AAAA 30 2001:2::5`]);
  });

  it("says that there is nothing, not that the name is absent, for another type or family", () => {
    for (const type of ["MX", "TXT", "HTTPS" as RecordType, "CAA"] as const) {
      const { verdict, reply } = ask(REVIEWS, type);
      assert.deepEqual([verdict, reply?.code, reply?.answers, reply?.authorities], ["reply", "NOERROR", [], ["SOA mesh.internal"]], type);
    }
    const unreached = ask(REVIEWS, "AAAA", { reachesIpv6: false });
    assert.deepEqual([unreached.reply?.code, unreached.reply?.answers, unreached.reply?.authorities], ["NOERROR", [], ["SOA mesh.internal"]]);
  });

  it("denies what is ours and unknown, and forwards what is not ours", () => {
    assert.equal(ask("nobody.shop.svc.mesh.internal").reply?.code, "NXDOMAIN");
    assert.equal(ask("_nothing._tcp.reviews.shop.svc.mesh.internal", "SRV").reply?.code, "NXDOMAIN");
    assert.equal(ask("_http._udp.reviews.shop.svc.mesh.internal", "SRV").reply?.code, "NXDOMAIN");
    for (const name of ["example.org", "notmesh.internal", "9.0.9.10.in-addr.arpa", "other.service.consul", "v2.reviews.service.consul", "vm1.node.consul", "reviews.query.consul", "shop.svc.cluster.local"]) {
      for (const type of ["A", "SRV", "PTR", "TXT"] as const) assert.deepEqual(ask(name, type), { verdict: "forward", reply: undefined }, `${name} ${type}`);
    }
  });

  it("leaves the names of others to their resolvers, and answers where these have none", () => {
    for (const name of ["reviews.service.consul", "reviews.service.dc1.consul", "Reviews.shop.svc.cluster.local"]) {
      assert.deepEqual([ask(name).verdict, ask(name).reply?.answers], ["forward", [`${name} A 30 240.240.0.5`]]);
      const text = ask(name, "TXT");
      assert.deepEqual([text.verdict, text.reply?.code, text.reply?.answers], ["forward", "NOERROR", []], "it would be wrong to say that the name is absent");
    }
    assert.deepEqual(ask("db.example.com"), { verdict: "forward", reply: { ...ask("db.example.com").reply, code: "NOERROR", answers: ["db.example.com A 30 10.9.0.9"] } });
  });

  it("tells ports by SRV, with the addresses of the target", () => {
    const srv = (name: string, ...ports: number[]): string[] => ports.map((port) => `${name} SRV 30 0 100 ${port} ${REVIEWS}`);
    const cases: readonly (readonly [string, Verdict["kind"], readonly number[]])[] = [
      [`_http._tcp.${REVIEWS}`, "reply", [8_080, 8_081]],
      [`_HTTP-Admin._TCP.${REVIEWS}`, "reply", [8_081]],
      [`_grpc._tcp.${REVIEWS}`, "reply", [9_000]],
      [REVIEWS, "reply", [8_080, 8_081, 9_000]],
      ["_http._tcp.reviews.shop.svc.cluster.local", "forward", [8_080, 8_081]],
      ["_rpc._tcp.reviews.service.consul", "forward", [9_000]],
      ["reviews.service.consul", "forward", [8_080, 8_081, 9_000]],
      ["_reviews._tcp.service.consul", "forward", [8_080, 8_081, 9_000]],
      ["_reviews._http.service.consul", "forward", [8_080, 8_081]],
      ["_reviews._grpc.service.dc1.consul", "forward", [9_000]],
    ];
    for (const [name, verdict, ports] of cases) {
      const asked = ask(name, "SRV");
      assert.deepEqual([asked.verdict, asked.reply?.answers], [verdict, srv(name, ...ports)], name);
      assert.deepEqual(asked.reply?.additionals, [`${REVIEWS} A 30 240.240.0.5`, `${REVIEWS} AAAA 30 2001:2::5`]);
    }
    assert.deepEqual(ask(REVIEWS, "SRV", { reachesIpv6: false }).reply?.additionals, [`${REVIEWS} A 30 240.240.0.5`]);
    const address = ask(`_http._tcp.${REVIEWS}`, "A");
    assert.deepEqual([address.reply?.code, address.reply?.answers], ["NOERROR", []], "such a name has no address");
    assert.equal(ask("_reviews._v2.service.consul", "SRV").reply, undefined, "a tag of Consul's own");
    const cut = ask("wide.shop.svc.mesh.internal", "SRV");
    assert.deepEqual([cut.reply?.truncated, cut.reply?.answers.length, cut.reply?.additionals], [false, 1, []], "additional records do not make it longer than fits");
  });

  it("knows the names of virtual addresses, where nobody else has one", () => {
    for (const name of ["5.0.240.240.in-addr.arpa", "5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.2.0.0.0.1.0.0.2.ip6.arpa"]) {
      assert.deepEqual([ask(name, "PTR").verdict, ask(name, "PTR").reply?.answers], ["forward", [`${name} PTR 30 ${REVIEWS}`]]);
      assert.equal(ask(name, "A").reply, undefined);
    }
  });

  it("refuses what may be ours, and forwards all else, before any names are known", () => {
    const nothing = { table: EMPTY_NAME_TABLE };
    assert.deepEqual([ask(REVIEWS, "A", nothing).verdict, ask(REVIEWS, "A", nothing).reply?.code], ["reply", "SERVFAIL"]);
    for (const name of ["example.org", "reviews.service.consul", "5.0.240.240.in-addr.arpa"]) assert.deepEqual(ask(name, "A", nothing), { verdict: "forward", reply: undefined });
  });

  it("answers with an alias where the resolver has appended a search domain", () => {
    const search = { searchDomains: ["corp.example", "shop.svc.mesh.internal"] };
    assert.deepEqual(ask(`${REVIEWS}.corp.example`, "A", search).reply?.answers, [`${REVIEWS}.corp.example CNAME 30 ${REVIEWS}`, `${REVIEWS} A 30 240.240.0.5`]);
    assert.deepEqual(ask(`${REVIEWS}.shop.svc.mesh.internal`, "A", search).reply?.answers.length, 2);
    assert.deepEqual(ask(`_rpc._tcp.${REVIEWS}.corp.example`, "SRV", search).reply?.answers, [`_rpc._tcp.${REVIEWS}.corp.example CNAME 30 _rpc._tcp.${REVIEWS}`, `_rpc._tcp.${REVIEWS} SRV 30 0 100 9000 ${REVIEWS}`]);
    for (const name of ["reviews.corp.example", "reviews.service.consul.corp.example"]) assert.deepEqual(ask(name, "A", search), { verdict: "forward", reply: undefined });
    assert.equal(ask(`${REVIEWS}.corp.example`).verdict, "forward");
  });

  it("cuts what does not fit and says so, by the client's own size", () => {
    const plain = ask("wide.shop.svc.mesh.internal").reply;
    assert.deepEqual([plain?.truncated, plain?.answers.length], [true, 0]);
    for (const edns of [0, 512, 1_400, 65_535]) {
      const small = ask(REVIEWS, "A", { edns }).reply;
      assert.deepEqual([small?.edns, small?.truncated, ask("wide.shop.svc.mesh.internal", "A", { edns }).reply?.truncated], [true, false, true]);
    }
    const tcp = ask("wide.shop.svc.mesh.internal", "A", { transport: "tcp" }).reply;
    assert.deepEqual([tcp?.truncated, tcp?.answers.length], [false, 60]);
  });

  it("answers FORMERR to a query that cannot be read, and nothing to what is no query", () => {
    const codeOf = (message: Buffer): number | string => {
      const verdict = judgeQuery(message, KNOWLEDGE);
      return verdict.kind === "reply" ? verdict.bytes.readUInt8(3) & 0xf : verdict.kind;
    };
    const whole = queryOf(REVIEWS, "A");
    const two = Buffer.from(whole);
    two.writeUInt16BE(2, 4);
    const pointer = Buffer.from(whole);
    pointer.writeUInt16BE(0xc0_0c, 12);
    const twoOptions = packet.encode({ type: "query", id: 1, questions: [{ type: "A", name: REVIEWS }], additionals: [ednsOf(1_232), ednsOf(1_232)] });
    for (const broken of [whole.subarray(0, 12), whole.subarray(0, 20), whole.subarray(0, -1), two, pointer, twoOptions]) assert.equal(codeOf(broken), 1, broken.toString("hex"));
    const update = Buffer.from(whole);
    update.writeUInt8(5 << 3, 2);
    assert.equal(codeOf(update), 4);
    assert.equal(codeOf(packet.encode({ type: "response", id: 1, questions: [] })), "ignore");
    assert.equal(codeOf(whole.subarray(0, 11)), "ignore");
    const later = packet.encode({ type: "query", id: 1, questions: [{ type: "A", name: REVIEWS }], additionals: [ednsOf(1_232, 1)] });
    const verdict = judgeQuery(later, KNOWLEDGE);
    const reply = verdict.kind === "reply" ? packet.decode(verdict.bytes) : undefined;
    const [opt] = reply?.additionals ?? [];
    assert.deepEqual([reply?.answers, opt?.type === "OPT" ? opt.extendedRcode : undefined], [[], 1], "BADVERS");
  });

  it("does not look into a query for somebody else's name", () => {
    // An OPT whose option is longer than its record.
    const opt = Buffer.from("0000290200000000000004000affff", "hex");
    const withOpt = (name: string): Buffer => {
      const query = Buffer.concat([queryOf(name, "A"), opt]);
      query.writeUInt16BE(1, 10);
      return query;
    };
    assert.deepEqual(judgeQuery(withOpt("example.org"), KNOWLEDGE), { kind: "forward" });
    assert.equal(judgeQuery(withOpt(REVIEWS), KNOWLEDGE).kind, "reply");
    const strange = queryOf(REVIEWS, "A");
    // One label that reads like two, and one that is no text: neither is a name of ours.
    strange.write("reviews.shop", 13, "latin1");
    strange.writeUInt8(12, 12);
    assert.deepEqual(judgeQuery(strange, KNOWLEDGE), { kind: "forward" });
    const binary = queryOf(REVIEWS, "A");
    binary.writeUInt8(0xff, 14);
    assert.deepEqual(judgeQuery(binary, KNOWLEDGE), { kind: "forward" });
    const chaos = queryOf(REVIEWS, "TXT");
    chaos.writeUInt16BE(3, chaos.length - 2);
    assert.deepEqual(judgeQuery(chaos, KNOWLEDGE), { kind: "forward" });
  });

  it("leaves out of what it is told whatever no message can hold", () => {
    const addresses = constantFrom("240.240.0.1", "2001:2::1", "::ffff:10.0.0.1", "fe80::1%eth0", "not an address", "", "1.2.3", "999.1.1.1");
    const anyName = oneof(constantFrom("a.mesh.internal", "", ".", "..", "a..mesh.internal", "*.mesh.internal", `${"x".repeat(64)}.mesh.internal`, `${"x.".repeat(130)}mesh.internal`), string());
    check(
      property(anyName, anyName, array(addresses), integer(), (name, alias, told, number) => {
        const table = buildNameTable([{ name, addresses: told, aliases: [alias], ports: [{ name: alias, number, protocol: name }, { name: "good", number: 80, protocol: "HTTP" }] }, { name: "b.mesh.internal", addresses: ["240.240.0.9"] }], ["mesh.internal"]);
        for (const known of [...table.entries.keys(), ...table.reverse.keys(), "a.mesh.internal"]) {
          for (const type of ["A", "AAAA", "SRV", "PTR"] as const) ask(known, type, { table, transport: "tcp" });
        }
        assert.deepEqual(ask("b.mesh.internal", "A", { table }).reply?.answers, ["b.mesh.internal A 30 240.240.0.9"]);
      }),
      { numRuns: 500 },
    );
    assert.deepEqual(ask("a.mesh.internal", "SRV", { table: buildNameTable([{ name: "a.mesh.internal", addresses: [], ports: [{ name: "", number: 70_000, protocol: "TCP" }] }], ["mesh.internal"]) }).reply?.answers, []);
  });

  it("never throws, never answers with more than the client takes, and repeats the question to the byte", () => {
    const types = constantFrom<RecordType>("A", "AAAA", "SRV", "TXT", "PTR", "ANY" as RecordType);
    const names = constantFrom(REVIEWS, `_http._tcp.${REVIEWS}`, "reviews.service.consul", "_reviews._tcp.service.consul", "wide.shop.svc.mesh.internal", "nobody.mesh.internal", "5.0.240.240.in-addr.arpa");
    const judge = (query: Buffer, size: number): void => {
      const verdict = judgeQuery(query, KNOWLEDGE);
      const bytes = verdict.kind === "reply" ? verdict.bytes : verdict.kind === "forward" ? verdict.otherwise : undefined;
      if (bytes === undefined) return;
      packet.decode(bytes);
      assert.ok(bytes.length <= size);
      assert.equal(bytes.readUInt16BE(0), query.readUInt16BE(0));
      if (bytes.readUInt16BE(4) === 1) assert.ok(query.subarray(12).indexOf(bytes.subarray(12, 12 + questionLength(bytes))) === 0);
    };
    check(property(uint8Array({ maxLength: 600 }), (bytes) => judge(Buffer.from(bytes), 1_232)), { numRuns: 400 });
    check(
      property(names, types, integer({ min: 0, max: 0xffff }), uint8Array({ maxLength: 8 }), integer({ min: 0, max: 400 }), (name, type, size, noise, at) => {
        const cased = name.split("").map((letter, index) => ((size >> (index % 16)) & 1 ? letter.toUpperCase() : letter)).join("");
        judge(queryOf(cased, type), 512);
        judge(queryOf(cased, type, size), Math.max(512, Math.min(1_232, size)));
        const damaged = queryOf(cased, type, size);
        damaged.set(noise.subarray(0, Math.max(0, damaged.length - (at % damaged.length))), at % damaged.length);
        judge(damaged, 1_232);
      }),
      { numRuns: 400 },
    );
    check(
      property(webUrl(), constantFrom<RecordType>("A", "AAAA", "TXT", "SRV"), (url, type) => {
        assert.deepEqual(ask(new URL(url).hostname, type), { verdict: "forward", reply: undefined });
      }),
    );
  });
});

function questionLength(message: Buffer): number {
  let at = 12;
  while ((message[at] ?? 0) !== 0) at += 1 + (message[at] ?? 0);
  return at + 5 - 12;
}

describe("resolv.conf", () => {
  it("reads servers and the last list of search domains", () => {
    assert.deepEqual(parseResolvConf("# x\nnameserver 10.0.0.1\nnameserver fd77::1 # two\ndomain a.example\nsearch b.example  c.example\noptions ndots:5\n"), {
      nameservers: ["10.0.0.1", "fd77::1"],
      searchDomains: ["b.example", "c.example"],
    });
    assert.deepEqual(parseResolvConf(""), { nameservers: [], searchDomains: [] });
  });
});
