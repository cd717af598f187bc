import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { connect } from "node:net";
import { setImmediate } from "node:timers/promises";

import packet from "dns-packet";
import type { DecodedPacket } from "dns-packet";

import type { HostPort } from "../../../../agent/config.ts";
import { watchIpv6Route } from "../../../../agent/dns/ipv6-route.ts";
import { buildNameTable } from "../../../../agent/dns/name-table.ts";
import { startDnsServer } from "../../../../agent/dns/server.ts";
import type { DnsLimits, DnsServer } from "../../../../agent/dns/server.ts";
import { readFrames, writeFrame } from "../../../../agent/dns/tcp-frame.ts";
import { systemClock } from "../../../../base/clock.ts";
import { silentLogger } from "../../../../base/logger.ts";
import { TaskGroup } from "../../../../base/task-group.ts";
import { waitUntil } from "../../../support/wait-until.ts";

/** A resolver that does what the test says: an address, an error code, silence, or an answer with a wrong id first. */
async function startUpstream(tasks: TaskGroup, behaviour: string | number): Promise<HostPort & { asked: Buffer[] }> {
  const socket = createSocket("udp4");
  const asked: Buffer[] = [];
  socket.on("message", (query, from) => {
    asked.push(query);
    if (behaviour === "silent") return;
    const decoded = packet.decode(query);
    const question = decoded.questions?.[0];
    if (question === undefined) return;
    const reply = (id: number, data: string): void => {
      socket.send(packet.encode({ type: "response", id, questions: [question], answers: [{ type: "A", name: question.name, data }] }), from.port, from.address);
    };
    if (typeof behaviour === "number") {
      socket.send(packet.encode({ type: "response", id: decoded.id ?? 0, flags: behaviour, questions: [question] }), from.port, from.address);
    } else if (behaviour === "forger") {
      reply(((decoded.id ?? 0) + 1) & 0xffff, "6.6.6.6");
      reply(decoded.id ?? 0, "1.1.1.1");
    } else reply(decoded.id ?? 0, behaviour);
  });
  await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
  tasks.defer(() => void socket.close());
  return { host: "127.0.0.1", port: socket.address().port, asked };
}

function askUdp(port: number, name: string, extra: Buffer = Buffer.alloc(0), type: "A" | "AAAA" = "A"): Promise<DecodedPacket> {
  return new Promise((resolve) => {
    const socket = createSocket("udp4");
    // A query that is dropped must not keep the test run alive.
    socket.unref();
    socket.on("message", (reply) => {
      socket.close();
      resolve(packet.decode(reply));
    });
    socket.send(Buffer.concat([packet.encode({ type: "query", id: 5, questions: [{ type, name }] }), extra]), port, "127.0.0.1");
  });
}

const addressesOf = (reply: DecodedPacket): unknown[] => (reply.answers ?? []).map((answer) => ("data" in answer ? answer.data : undefined));
const codeOf = (reply: DecodedPacket): unknown => (reply as unknown as { rcode: string }).rcode;

describe("DNS server", () => {
  let tasks: TaskGroup;
  beforeEach(() => {
    tasks = new TaskGroup();
  });
  afterEach(() => tasks.close());

  const start = async (upstreams: readonly HostPort[], limits: Partial<DnsLimits> = {}): Promise<DnsServer> => {
    const resolvers = { current: () => Promise.resolve({ upstreams, searchDomains: [] }) };
    return tasks.own(await startDnsServer({ addresses: ["127.0.0.1", "::1"], port: 0, resolvers, clock: systemClock, logger: silentLogger, limits }));
  };

  it("passes other names on, and refuses what may be its own, before any name of the mesh is known", async () => {
    const upstream = await startUpstream(tasks, "9.9.9.9");
    const server = await start([upstream]);
    assert.deepEqual(addressesOf(await askUdp(server.port, "example.org")), ["9.9.9.9"]);
    assert.equal(codeOf(await askUdp(server.port, "a.mesh.internal")), "SERVFAIL");
    server.setTable(buildNameTable([{ name: "a.mesh.internal", addresses: ["240.240.0.1"] }], ["mesh.internal"]));
    assert.deepEqual(addressesOf(await askUdp(server.port, "a.mesh.internal")), ["240.240.0.1"]);
    assert.equal(upstream.asked.length, 1);
  });

  it("answers a native name only where nobody else does, and soon", async () => {
    const table = buildNameTable([{ name: "a.mesh.internal", addresses: ["240.240.0.1"], aliases: ["a.service.consul"] }], ["mesh.internal"]);
    for (const [behaviour, expected] of [["9.9.9.9", "9.9.9.9"], [3, "240.240.0.1"], [2, "240.240.0.1"], [5, "240.240.0.1"], ["silent", "240.240.0.1"], ["nobody", "240.240.0.1"]] as const) {
      const upstreams = behaviour === "nobody" ? [] : [await startUpstream(tasks, behaviour)];
      const server = await start(upstreams, { patienceMs: 50, timeoutMs: 2 ** 30 });
      server.setTable(table);
      assert.deepEqual(addressesOf(await askUdp(server.port, "a.service.consul")), [expected], String(behaviour));
      if (behaviour === 3) assert.equal(codeOf(await askUdp(server.port, "b.service.consul")), "NXDOMAIN", "said by them, not by us");
      assert.equal(server.counters().failed, 0);
    }
  });

  it("tells addresses of IPv6 where the host has a way to them", async () => {
    const table = buildNameTable([{ name: "a.mesh.internal", addresses: ["240.240.0.1", "::1"] }], ["mesh.internal"]);
    const resolvers = { current: () => Promise.resolve({ upstreams: [], searchDomains: [] }) };
    for (const [ipv6, expected] of [[undefined, ["::1"]], [watchIpv6Route(() => Promise.resolve(false)), []]] as const) {
      const server = tasks.own(await startDnsServer({ addresses: ["127.0.0.1"], port: 0, table, resolvers, ...(ipv6 === undefined ? {} : { ipv6 }), clock: systemClock, logger: silentLogger }));
      assert.deepEqual(addressesOf(await askUdp(server.port, "a.mesh.internal", Buffer.alloc(0), "AAAA")), expected);
    }
    // The kernel's own word, for an address that nothing leads to.
    assert.equal(await watchIpv6Route().reaches("::", 0), true);
    assert.equal(await watchIpv6Route().reaches("fe80::1", 0), false, "a link-local address without its link");
  });

  it("goes on to the next resolver after silence, a refusal and a failure", async () => {
    const good = await startUpstream(tasks, "9.9.9.9");
    for (const bad of ["silent", 2, 5] as const) {
      const server = await start([await startUpstream(tasks, bad), good], { patienceMs: 50 });
      assert.deepEqual(addressesOf(await askUdp(server.port, "example.org")), ["9.9.9.9"], String(bad));
    }
  });

  it("gives on an upstream's own failure, and fails itself only where nobody answers", async () => {
    const refused = await start([await startUpstream(tasks, 5)], { patienceMs: 20, timeoutMs: 300 });
    assert.equal(codeOf(await askUdp(refused.port, "example.org")), "REFUSED");
    const nxdomain = await start([await startUpstream(tasks, 3)]);
    assert.equal(codeOf(await askUdp(nxdomain.port, "example.org")), "NXDOMAIN");
    const nobody = await start([await startUpstream(tasks, "silent")], { patienceMs: 20, timeoutMs: 100 });
    assert.equal(codeOf(await askUdp(nobody.port, "example.org")), "SERVFAIL");
    assert.equal(nobody.counters().failed, 1);
  });

  it("believes only an answer with the id of its own query, and never shows the client's id upstream by rule", async () => {
    const upstream = await startUpstream(tasks, "forger");
    const server = await start([upstream]);
    for (let count = 0; count < 8; count += 1) assert.deepEqual(addressesOf(await askUdp(server.port, "example.org")), ["1.1.1.1"]);
    const ids = new Set(upstream.asked.map((query) => query.readUInt16BE(0)));
    assert.ok(ids.size > 4, `the ids are ${[...ids].join()}`);
  });

  it("drops what is above the bound instead of queueing it", async () => {
    const server = await start([await startUpstream(tasks, "silent")], { maxForwarded: 2, patienceMs: 50, timeoutMs: 200 });
    const replies = Array.from({ length: 5 }, () => askUdp(server.port, "example.org"));
    await Promise.all([Promise.race(replies), Promise.any(replies)]);
    assert.equal(server.counters().dropped, 3);
    assert.equal(server.counters().forwarded, 2);
  });

  it("is closed while somebody else is still asked", async () => {
    const upstream = await startUpstream(tasks, "silent");
    const server = await start([upstream], { patienceMs: 300, timeoutMs: 300 });
    void askUdp(server.port, "example.org");
    await waitUntil(() => server.counters().forwarded === 1, { what: "the query", intervalMs: 5 });
    await server.close();
    await waitUntil(() => server.counters().failed === 1, { what: "the upstream's time to be over" });
    // Were an answer sent now, it would throw outside of everybody's care.
    await setImmediate();
  });

  it("listens on what addresses the host has, and fails where it has none of them", async () => {
    const ofSomebodyElse = "2001:db8::53";
    const resolvers = { current: () => Promise.resolve({ upstreams: [], searchDomains: [] }) };
    const server = tasks.own(await startDnsServer({ addresses: ["127.0.0.1", ofSomebodyElse], port: 0, resolvers, clock: systemClock, logger: silentLogger }));
    assert.equal(codeOf(await askUdp(server.port, "example.org")), "SERVFAIL");
    for (const [addresses, port] of [[[ofSomebodyElse], 0], [[ofSomebodyElse, "127.0.0.1"], server.port]] as const) {
      await assert.rejects(startDnsServer({ addresses, port, resolvers, clock: systemClock, logger: silentLogger }), { code: "MESH_LISTEN_FAILED" });
    }
  });

  it("says who may have its port", async () => {
    const { port } = await start([]);
    await assert.rejects(startDnsServer({ addresses: ["127.0.0.1"], port, resolvers: { current: async () => ({ upstreams: [], searchDomains: [] }) }, clock: systemClock, logger: silentLogger }), { code: "MESH_LISTEN_FAILED", hint: /Sockets=ironmesh-dns\.socket/ });
  });

  it("answers several queries on one TCP connection, also when they come byte by byte", async () => {
    const server = await start([]);
    server.setTable(buildNameTable([{ name: "a.mesh.internal", addresses: ["240.240.0.1"] }], ["mesh.internal"]));
    const socket = connect(server.port, "::1");
    tasks.defer(() => void socket.destroy());
    const replies: DecodedPacket[] = [];
    const both = new Promise<void>((resolve) => {
      readFrames(socket, (reply) => {
        replies.push(packet.decode(reply));
        if (replies.length === 2) resolve();
      });
    });
    const query = packet.encode({ type: "query", id: 9, questions: [{ type: "A", name: "a.mesh.internal" }] });
    writeFrame(socket, query);
    socket.setNoDelay(true);
    for (const byte of Buffer.concat([Buffer.from([0, query.length]), query])) socket.write(Buffer.from([byte]));
    await both;
    assert.deepEqual(replies.map(addressesOf), [["240.240.0.1"], ["240.240.0.1"]]);
  });
});
