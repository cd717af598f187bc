import assert from "node:assert/strict";
import { type ClientHttp2Session, type ClientHttp2Stream, connect as connectHttp2, type Settings } from "node:http2";
import { connect as connectSocket } from "node:net";
import type { SecureContextOptions } from "node:tls";
import type { Peer } from "../../../../base/grpc/call.ts";
import { type ClientStream, connectGrpc, type GrpcClient } from "../../../../base/grpc/client.ts";
import { type BoundGrpcServer, type GrpcServerOptions, serveGrpc } from "../../../../base/grpc/server.ts";
import { GrpcError } from "../../../../base/grpc/status.ts";
import { silentLogger } from "../../../../base/logger.ts";
import { TaskGroup } from "../../../../base/task-group.ts";
import { createTestAuthority } from "../../../support/test-authority.ts";
import { waitUntil } from "../../../support/wait-until.ts";

const AGENT = "spiffe://t/agent";
const text = (value: string): Uint8Array => Buffer.from(value);
const onlyAgents = (peer: Peer): void => {
  const name = peer.peerCertificate()?.subjectAltName;
  if (name === undefined) throw new GrpcError("UNAUTHENTICATED", "no certificate");
  if (name !== `URI:${AGENT}`) throw new GrpcError("PERMISSION_DENIED", `${name} is no agent`);
};
/** What lets each slow call be answered. */
let answers: (() => void)[] = [];
const handlers: GrpcServerOptions["handlers"] = {
  "/t.T/Slow": {
    kind: "unary",
    handle: (request) => new Promise((resolve) => answers.push(() => resolve(request))),
  },
  "/t.T/Refuse": {
    kind: "unary",
    authorize: onlyAgents,
    handle: () => {
      throw new GrpcError("PERMISSION_DENIED", "not any more");
    },
  },
  "/t.T/Open": { kind: "unary", handle: (request) => request },
  "/t.T/Chat": {
    kind: "stream",
    authorize: onlyAgents,
    handle: async ({ messages, write }) => {
      for await (const message of messages) await write(message);
    },
  },
};

describe("the places of a server that lets strangers in", () => {
  const authority = createTestAuthority();
  let group: TaskGroup;
  let server: BoundGrpcServer;
  beforeEach(() => {
    group = new TaskGroup();
    answers = [];
  });
  afterEach(() => group.close());

  const serve = async (limits: GrpcServerOptions["limits"]): Promise<void> => {
    const tls = { ...authority.mint("spiffe://t/server"), clientRoots: [authority.root], clientCertificate: "optional" as const };
    server = group.own(await serveGrpc({ listen: { host: "127.0.0.1", port: 0 }, tls, handlers, limits: { ...limits }, logger: silentLogger }));
  };
  const port = (): number => {
    assert.ok("port" in server.address);
    return server.address.port;
  };
  const client = (spiffeId?: string): GrpcClient =>
    group.own(
      connectGrpc({
        target: server.address,
        tls: () => ({ roots: [authority.root], checkServer: () => undefined, ...(spiffeId === undefined ? {} : { identity: authority.mint(spiffeId) }) }),
      }),
    );
  /** A stranger's connection, with no client of ours that would close or repeat anything. */
  const stranger = async (identity: SecureContextOptions = {}, settings: Settings = {}): Promise<ClientHttp2Session> => {
    const session = connectHttp2(`https://127.0.0.1:${port()}`, { ...identity, settings, ca: authority.root, checkServerIdentity: () => undefined });
    group.defer(() => session.destroy());
    session.on("error", () => undefined);
    // The server has taken it in when its settings are there.
    await new Promise((resolve) => session.once("remoteSettings", resolve));
    return session;
  };
  const hang = (session: ClientHttp2Session): ClientHttp2Stream => {
    const request = session.request({ ":method": "POST", ":path": "/t.T/Open", "content-type": "application/grpc" });
    request.on("error", () => undefined);
    return request;
  };
  const says = async (chat: ClientStream, word: string): Promise<void> => {
    await chat.write(text(word));
    assert.equal((await chat.messages.next())?.toString(), word);
  };

  it("ends a connection without a certificate after its short life, whatever it does, and no other", async () => {
    await serve({ anonymousLifeMs: 3_000, keepaliveMs: 100 });
    const chat = await client(AGENT).stream("/t.T/Chat");
    await says(chat, "before");
    const session = await stranger();
    for (let count = 0; count < 3; count += 1) hang(session);
    await waitUntil(() => server.usage().calls === 4, { what: "the stranger's calls" });
    await waitUntil(() => session.closed, { what: "the end of the stranger's connection" });
    await says(chat, "after");
    await waitUntil(() => server.usage().calls === 1, { what: "the end of its calls" });
  });

  it("cuts the oldest connection without a certificate where there are too many", async () => {
    await serve({ maxAnonymousConnections: 2 });
    const chat = await client(AGENT).stream("/t.T/Chat");
    await says(chat, "before");
    const [first, second, third] = [await stranger(), await stranger(), await stranger()];
    await waitUntil(() => first.closed, { what: "the end of the oldest" });
    assert.deepEqual([second.closed, third.closed], [false, false]);
    assert.equal((await client().unary("/t.T/Open", text("joins"))).toString(), "joins", "a newcomer always gets in");
    await waitUntil(() => second.closed, { what: "the end of the next" });
    await says(chat, "after");
  });

  it("cuts none that is being answered, however long that takes, and the newcomer where all are", async () => {
    await serve({ maxAnonymousConnections: 2 });
    const [first, second] = [client(), client()];
    const slow = [first.unary("/t.T/Slow", text("joins")), second.unary("/t.T/Slow", text("joins too"))];
    await waitUntil(() => answers.length === 2, { what: "both requests" });
    const third = connectHttp2(`https://127.0.0.1:${port()}`, { ca: authority.root, checkServerIdentity: () => undefined });
    third.on("error", () => undefined);
    await waitUntil(() => third.closed || third.destroyed, { what: "the end of the newcomer" });
    for (const answer of answers) answer();
    assert.deepEqual((await Promise.all(slow)).map(String), ["joins", "joins too"]);
    const [fourth, fifth] = [await stranger(), await stranger()];
    await waitUntil(() => server.usage().connections === 2, { what: "the end of those that were answered" });
    assert.deepEqual([fourth.closed, fifth.closed], [false, false]);
  });

  it("lets newcomers in beside those that do not take their answers, or ask again and again", async () => {
    await serve({ maxAnonymousConnections: 2, anonymousLifeMs: 3_600_000 });
    const ask = (session: ClientHttp2Session, path: string): ClientHttp2Stream => {
      const request = session.request({ ":method": "POST", ":path": path, "content-type": "application/grpc" });
      request.on("error", () => undefined);
      request.end(Buffer.from([0, 0, 0, 0, 1, 120]));
      return request;
    };
    const joins = async (): Promise<boolean> => (await client().unary("/t.T/Open", text("joins")).catch(() => "")).toString() === "joins";
    for (let count = 0; count < 2; count += 1) {
      const deaf = await stranger({}, { initialWindowSize: 0 });
      await new Promise((resolve) => ask(deaf, "/t.T/Open").once("response", resolve));
    }
    await waitUntil(joins, { what: "a place beside those that take nothing" });
    for (let count = 0; count < 2; count += 1) {
      const busy = await stranger();
      await new Promise((resolve) => ask(busy, "/t.T/Open").once("end", resolve).resume());
      ask(busy, "/t.T/Slow");
      await waitUntil(() => answers.length === count + 1, { what: "its next request" });
    }
    await waitUntil(joins, { what: "a place beside those that ask on" });
  });

  it("counts a certificate that does not verify as none", async () => {
    await serve({ maxAnonymousConnections: 2 });
    const { certificateChain, privateKey } = createTestAuthority("foreign").mint(AGENT);
    const first = await stranger({ cert: certificateChain, key: Buffer.from(privateKey.reveal()) });
    const [second, third] = [await stranger(), await stranger()];
    await waitUntil(() => first.closed, { what: "the end of the oldest" });
    assert.deepEqual([second.closed, third.closed], [false, false]);
  });

  it("takes few calls at a time from a connection without a certificate, and little memory for them", async () => {
    await serve({ maxAnonymousCalls: 2, maxMessageBytes: 1_000 });
    const session = await stranger();
    const requests = [hang(session), hang(session)];
    // All of a message but its last byte.
    for (const request of requests) request.write(Buffer.concat([Buffer.from([0, 0, 0, 3, 232]), Buffer.alloc(999)]));
    await waitUntil(() => server.usage().bufferedBytes === 2_000, { what: "the bytes of both calls" });
    const surplus = hang(session);
    const headers = await new Promise<Record<string, unknown>>((resolve) => surplus.once("response", resolve));
    assert.equal(headers["grpc-status"], "8");
    assert.deepEqual(server.usage(), { connections: 1, calls: 2, bufferedBytes: 2_000 });
    requests[0]?.close();
    await waitUntil(() => server.usage().bufferedBytes === 1_000, { what: "the end of the first call" });
    requests[1]?.end(Buffer.alloc(1));
    await waitUntil(() => server.usage().calls === 0, { what: "the answer" });
  });

  it("gives a place that strangers hold to whoever comes, and never one of a caller that is known", async () => {
    await serve({ maxConnections: 3 });
    const silent = connectSocket(port(), "127.0.0.1");
    group.defer(() => void silent.destroy());
    let isCut = false;
    silent.on("error", () => undefined).on("close", () => (isCut = true)).resume();
    await waitUntil(() => server.usage().connections === 1, { what: "the connection that says nothing" });
    const [first, second] = [await stranger(), await stranger()];

    const chat = await client(AGENT).stream("/t.T/Chat");
    await says(chat, "one");
    await waitUntil(() => isCut, { what: "the end of the oldest" });
    assert.deepEqual([first.closed, second.closed], [false, false]);
    for (let count = 0; count < 5; count += 1) await stranger();
    await says(chat, "two");

    const others = await Promise.all([client(AGENT).stream("/t.T/Chat"), client(AGENT).stream("/t.T/Chat")]);
    for (const other of others) await says(other, "three");
    await assert.rejects(client(AGENT).unary("/t.T/Open", text("")), { code: "MESH_CONNECT_FAILED" }, "all places are of agents");
    for (const known of [chat, ...others]) await says(known, "four");
    assert.equal(server.usage().connections, 3);
  });

  it("knows nobody by a certificate alone: the oldest of those who may not call makes place", async () => {
    await serve({ maxConnections: 2 });
    const others = [client("spiffe://t/workload"), client("spiffe://t/workload")];
    for (const other of others) {
      const refused = await other.stream("/t.T/Chat");
      await assert.rejects(refused.messages.next(), { status: "PERMISSION_DENIED" });
    }
    assert.equal(server.usage().connections, 2);
    const dismissed = client(AGENT);
    const agents = [await client(AGENT).stream("/t.T/Chat"), await dismissed.stream("/t.T/Chat")];
    for (const agent of agents) await says(agent, "in");
    assert.equal(server.usage().connections, 2);
    await assert.rejects(dismissed.unary("/t.T/Refuse", text("")), { status: "PERMISSION_DENIED" });
    agents.push(await client(AGENT).stream("/t.T/Chat"));
    await says(agents[2] as ClientStream, "in");
    await assert.rejects((agents[1] as ClientStream).messages.next(), { status: "UNAVAILABLE" }, "whoever was known before has lost its place");
    await says(agents[0] as ClientStream, "still in");
  });
});
