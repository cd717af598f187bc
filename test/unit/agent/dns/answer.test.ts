import assert from "node:assert/strict";

import packet from "dns-packet";
import type { RecordType } from "dns-packet";
import { assert as check, constantFrom, property, uint8Array, webUrl } from "fast-check";

import { judgeQuery } from "../../../../agent/dns/answer.ts";
import { buildNameTable, EMPTY_NAME_TABLE } from "../../../../agent/dns/name-table.ts";
import { parseResolvConf } from "../../../../agent/dns/resolv-conf.ts";

const table = buildNameTable(
  [
    { name: "reviews.shop.svc.mesh.internal", addresses: ["240.240.0.5", "2001:2::5"] },
    { name: "old.consul", addresses: ["10.0.0.9"] },
    { name: "wide.shop.svc.mesh.internal", addresses: Array.from({ length: 60 }, (_, index) => `10.0.0.${index}`) },
  ],
  ["mesh.internal"],
);

function ask(name: string, type: RecordType = "A", options: { edns?: number; search?: string[]; transport?: "udp" | "tcp" } = {}) {
  const query = packet.encode({
    type: "query",
    id: 77,
    flags: packet.RECURSION_DESIRED,
    questions: [{ type, name }],
    ...(options.edns === undefined ? {} : { additionals: [{ type: "OPT", name: ".", udpPayloadSize: options.edns, extendedRcode: 0, ednsVersion: 0, flags: 0, flag_do: false, options: [] }] }),
  });
  const verdict = judgeQuery(query, table, options.search ?? [], options.transport ?? "udp");
  if (verdict.kind !== "reply") return verdict.kind;
  const reply = packet.decode(verdict.bytes);
  assert.equal(reply.id, 77);
  return {
    code: (reply as unknown as { rcode: string }).rcode,
    answers: (reply.answers ?? []).map((one) => `${one.name} ${one.type} ${"ttl" in one ? one.ttl : ""} ${"data" in one && typeof one.data === "string" ? one.data : ""}`),
    authorities: (reply.authorities ?? []).map((one) => one.type),
    truncated: reply.flag_tc,
    edns: (reply.additionals ?? []).some((one) => one.type === "OPT"),
    question: reply.questions?.[0]?.name,
  };
}

describe("DNS answers", () => {
  it("answers names of the mesh in both families, whatever their case", () => {
    assert.deepEqual(ask("Reviews.Shop.svc.mesh.INTERNAL"), {
      code: "NOERROR", answers: ["Reviews.Shop.svc.mesh.INTERNAL A 30 240.240.0.5"], authorities: [], truncated: false, edns: false, question: "Reviews.Shop.svc.mesh.INTERNAL",
    }); // prettier-ignore
    assert.deepEqual((ask("reviews.shop.svc.mesh.internal", "AAAA") as { answers: string[] }).answers, ["reviews.shop.svc.mesh.internal AAAA 30 2001:2::5"]);
  });

  it("says that there is nothing, not that the name is absent, for another family or type", () => {
    for (const type of ["AAAA", "MX", "TXT"] as const) {
      const reply = ask("old.consul", type) as { code: string; answers: string[]; authorities: string[] };
      assert.deepEqual([reply.code, reply.answers, reply.authorities], ["NOERROR", [], ["SOA"]], type);
    }
  });

  it("denies what is ours and unknown, and forwards what is not ours", () => {
    assert.equal((ask("nobody.shop.svc.mesh.internal") as { code: string }).code, "NXDOMAIN");
    assert.equal(ask("example.org"), "forward");
    assert.equal(ask("notmesh.internal"), "forward");
    assert.equal(ask("5.0.240.240.in-addr.arpa", "PTR"), "forward");
  });

  it("forwards everything before any names are known", () => {
    const query = packet.encode({ type: "query", id: 1, questions: [{ type: "A", name: "reviews.shop.svc.mesh.internal" }] });
    assert.equal(judgeQuery(query, EMPTY_NAME_TABLE, [], "udp").kind, "forward");
  });

  it("answers with an alias where the resolver has appended a search domain", () => {
    assert.deepEqual((ask("reviews.shop.svc.mesh.internal.corp.example", "A", { search: ["corp.example"] }) as { answers: string[] }).answers, [
      "reviews.shop.svc.mesh.internal.corp.example CNAME 30 reviews.shop.svc.mesh.internal",
      "reviews.shop.svc.mesh.internal A 30 240.240.0.5",
    ]);
    assert.equal(ask("reviews.shop.svc.mesh.internal.corp.example", "A"), "forward");
  });

  it("cuts what does not fit and says so, by the client's own size", () => {
    const plain = ask("wide.shop.svc.mesh.internal") as { truncated: boolean; answers: string[] };
    assert.deepEqual([plain.truncated, plain.answers.length], [true, 0]);
    const small = ask("reviews.shop.svc.mesh.internal", "A", { edns: 1_400 }) as { edns: boolean; truncated: boolean };
    assert.deepEqual([small.edns, small.truncated], [true, false]);
    const tcp = ask("wide.shop.svc.mesh.internal", "A", { transport: "tcp" }) as { truncated: boolean; answers: string[] };
    assert.deepEqual([tcp.truncated, tcp.answers.length], [false, 60]);
  });

  it("answers FORMERR to a query that cannot be read, and nothing to what is no query", () => {
    const broken = Buffer.from("00070100000100000000000040ff", "hex");
    const verdict = judgeQuery(broken, table, [], "udp");
    assert.ok(verdict.kind === "reply");
    assert.equal(verdict.bytes.readUInt8(3) & 0xf, 1);
    assert.equal(judgeQuery(packet.encode({ type: "response", id: 1, questions: [] }), table, [], "udp").kind, "ignore");
    assert.equal(judgeQuery(Buffer.alloc(5), table, [], "udp").kind, "ignore");
  });

  it("never throws, and never answers with more than the client takes", () => {
    check(
      property(uint8Array({ maxLength: 600 }), (bytes) => {
        const verdict = judgeQuery(Buffer.from(bytes), table, ["corp.example"], "udp");
        if (verdict.kind === "reply") assert.ok(verdict.bytes.length <= 1_232);
      }),
      { numRuns: 2_000 },
    );
    check(
      property(webUrl(), constantFrom<RecordType>("A", "AAAA", "TXT", "SRV"), (url, type) => {
        const name = new URL(url).hostname;
        assert.equal(ask(name, type), "forward");
      }),
    );
  });
});

describe("resolv.conf", () => {
  it("reads servers and the last list of search domains", () => {
    assert.deepEqual(parseResolvConf("# x\nnameserver 10.0.0.1\nnameserver fd77::1 # two\ndomain a.example\nsearch b.example  c.example\noptions ndots:5\n"), {
      nameservers: ["10.0.0.1", "fd77::1"],
      searchDomains: ["b.example", "c.example"],
    });
    assert.deepEqual(parseResolvConf(""), { nameservers: [], searchDomains: [] });
  });
});
