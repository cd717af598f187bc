import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { connect } from "node:net";
import packet from "dns-packet";
import type { DecodedPacket, RecordType } from "dns-packet";
import { buildNameTable } from "../../agent/dns/name-table.ts";
import { startDnsServer } from "../../agent/dns/server.ts";
import type { DnsServer } from "../../agent/dns/server.ts";
import { readFrames, writeFrame } from "../../agent/dns/tcp-frame.ts";
import { systemClock } from "../../base/clock.ts";
import { silentLogger } from "../../base/logger.ts";
import { ConsulAgent } from "../support/consul-agent.ts";
import { consulPath } from "../support/consul.ts";
import { waitUntil } from "../support/wait-until.ts";

const path = consulPath();
const WEB = "web.consul.svc.mesh.internal";
const TABLE = buildNameTable(
  [
    { name: WEB, addresses: ["240.240.0.1"], aliases: ["web.service.consul", "web.service.dc1.consul"], ports: [{ name: "", number: 8_080, protocol: "HTTP" }] },
    // Consul has lost it; the mesh keeps what it had.
    { name: "ghost.consul.svc.mesh.internal", addresses: ["240.240.0.2"], aliases: ["ghost.service.consul"], ports: [{ name: "", number: 90, protocol: "GRPC" }] },
  ],
  ["mesh.internal"],
);

function queryOf(name: string, type: RecordType): Buffer {
  return packet.encode({ type: "query", id: 4_242, flags: packet.RECURSION_DESIRED, questions: [{ type, name }], additionals: [{ type: "OPT", name: ".", udpPayloadSize: 1_232, extendedRcode: 0, ednsVersion: 0, flags: 0, flag_do: false, options: [] }] });
}

function askByUdp(port: number, query: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = createSocket("udp4");
    socket.once("error", reject);
    socket.once("message", (reply) => {
      socket.close();
      resolve(reply);
    });
    socket.send(query, port, "127.0.0.1");
  });
}

function askByTcp(port: number, query: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("error", reject);
    readFrames(socket, (reply) => {
      socket.destroy();
      resolve(reply);
    });
    writeFrame(socket, query);
  });
}

const codeOf = (reply: DecodedPacket): unknown => (reply as unknown as { rcode: string }).rcode;
const dataOf = (reply: DecodedPacket): unknown[] => (reply.answers ?? []).map((answer) => ("data" in answer ? answer.data : undefined));

(path === undefined ? describe.skip : describe)(path === undefined ? "names with a real Consul as the host's resolver (there is none)" : "names with a real Consul as the host's resolver", () => {
  let consul: ConsulAgent;
  let server: DnsServer;
  let node = "";

  before(async () => {
    consul = await ConsulAgent.start({ path: path ?? "" });
    await consul.register({ ID: "web-1", Name: "web", Address: "10.1.0.1", Port: 8_080, Tags: ["v2"] });
    await consul.call("POST", "/v1/query", { Name: "near", Service: { Service: "web" } });
    const self = (await consul.call("GET", "/v1/agent/self")).body as { Config: { NodeName: string } };
    node = self.Config.NodeName;
    const resolvers = { current: () => Promise.resolve({ upstreams: [{ host: "127.0.0.1", port: consul.dnsPort }], searchDomains: [] }) };
    server = await startDnsServer({ addresses: ["127.0.0.1"], port: 0, table: TABLE, resolvers, clock: systemClock, logger: silentLogger });
    await waitUntil(async () => dataOf(packet.decode(await askByUdp(consul.dnsPort, queryOf("web.service.consul", "A")))).length === 1, { what: "Consul to answer names" });
  });
  after(async () => {
    await server?.close();
    await consul?.stop();
  });

  it("gives on what Consul says, to the byte, in every form of its names", async () => {
    const forms = ["web.service.consul", "WEB.Service.consul", "web.service.dc1.consul", "v2.web.service.consul", "_web._tcp.service.consul", "_web._v2.service.consul", `${node}.node.consul`, "near.query.consul", "nobody.service.consul", "v9.web.service.consul", "consul"];
    let named = 0;
    for (const name of forms) {
      for (const type of ["A", "AAAA", "SRV", "TXT", "SOA", "ANY" as RecordType, "MX"] as const) {
        const query = queryOf(name, type);
        for (const ask of [askByUdp, askByTcp]) {
          const through = await ask(server.port, query);
          // Consul shuffles what it adds.
          await waitUntil(async () => (await ask(consul.dnsPort, query)).equals(through), { what: `the same answer to ${name} ${type}`, intervalMs: 1, timeoutMs: 5_000 });
          named += Number(dataOf(packet.decode(through)).length > 0);
        }
      }
    }
    assert.ok(named > 20, `${named} answers named something`);
    assert.deepEqual(dataOf(packet.decode(await askByUdp(server.port, queryOf("web.service.consul", "A")))), ["10.1.0.1"]);
  });

  it("answers for a service that Consul no longer has, and leaves it to Consul to deny the others", async () => {
    const ask = async (name: string, type: RecordType): Promise<DecodedPacket> => packet.decode(await askByUdp(server.port, queryOf(name, type)));
    assert.equal(codeOf(packet.decode(await askByUdp(consul.dnsPort, queryOf("ghost.service.consul", "A")))), "NXDOMAIN");
    assert.deepEqual(dataOf(await ask("ghost.service.consul", "A")), ["240.240.0.2"]);
    assert.deepEqual(dataOf(await ask("_ghost._tcp.service.consul", "SRV")), [{ priority: 0, weight: 100, port: 90, target: "ghost.consul.svc.mesh.internal" }]);
    assert.equal(codeOf(await ask("ghost.service.consul", "MX")), "NOERROR");
    assert.equal(codeOf(await ask("nobody.service.consul", "A")), "NXDOMAIN");
  });

  it("answers what it knows while Consul is away, and says of nothing that it is absent", async () => {
    await consul.stop();
    const ask = async (name: string, type: RecordType): Promise<DecodedPacket> => packet.decode(await askByUdp(server.port, queryOf(name, type)));
    assert.deepEqual(dataOf(await ask("web.service.consul", "A")), ["240.240.0.1"]);
    assert.deepEqual(dataOf(await ask("web.service.consul", "SRV")), [{ priority: 0, weight: 100, port: 8_080, target: WEB }]);
    for (const name of ["v2.web.service.consul", `${node}.node.consul`, "near.query.consul"]) assert.equal(codeOf(await ask(name, "A")), "SERVFAIL", name);
  });
});
