import assert from "node:assert/strict";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { connect as connectHttp2 } from "node:http2";
import { connect as connectSocket, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { connectGrpc, type GrpcClient, type GrpcClientOptions } from "../../../../base/grpc/client.ts";
import type { UnverifiedPeer } from "../../../../base/grpc/call.ts";
import { type BoundGrpcServer, type GrpcServerOptions, serveGrpc } from "../../../../base/grpc/server.ts";
import { GrpcError } from "../../../../base/grpc/status.ts";
import { silentLogger } from "../../../../base/logger.ts";
import { TaskGroup } from "../../../../base/task-group.ts";
import { createTestAuthority } from "../../../support/test-authority.ts";
import { waitUntil } from "../../../support/wait-until.ts";

const text = (value: string): Uint8Array => Buffer.from(value);
const aborted: unknown[] = [];

const handlers: GrpcServerOptions["handlers"] = {
  "/t.T/Echo": { kind: "unary", handle: (request) => request },
  "/t.T/Who": { kind: "unary", handle: (_request, call) => text(call.peer.peerCertificate()?.subjectAltName ?? "nobody") },
  "/t.T/Meta": { kind: "unary", handle: (_request, call) => text(JSON.stringify(call.metadata)) },
  "/t.T/Refuse": {
    kind: "unary",
    handle: () => {
      throw new GrpcError("PERMISSION_DENIED", "nö: 100 %");
    },
  },
  "/t.T/Bug": {
    kind: "unary",
    handle: () => {
      throw new Error("password=hunter2");
    },
  },
  "/t.T/Hang": {
    kind: "unary",
    handle: (_request, call) =>
      new Promise((_resolve, reject) => {
        call.signal.addEventListener("abort", () => {
          aborted.push((call.signal.reason as GrpcError).status);
          reject(call.signal.reason as Error);
        });
      }),
  },
  "/t.T/Chat": {
    kind: "stream",
    handle: async ({ messages, write }) => {
      for await (const message of messages) await write([text("re: "), message]);
      await write(text("bye"));
    },
  },
};

describe("gRPC over HTTP/2", () => {
  let group: TaskGroup;
  beforeEach(() => {
    group = new TaskGroup();
    aborted.length = 0;
  });
  afterEach(() => group.close());

  const serve = async (options: Partial<GrpcServerOptions> = {}): Promise<BoundGrpcServer> =>
    group.own(await serveGrpc({ listen: { host: "127.0.0.1", port: 0 }, handlers, logger: silentLogger, ...options }));
  const client = (server: BoundGrpcServer, options: Partial<GrpcClientOptions> = {}): GrpcClient =>
    group.own(connectGrpc({ target: server.address, ...options }));

  it("answers unary calls of any size, and keeps statuses and their words", async () => {
    const grpc = client(await serve());
    for (const size of [0, 1, 100_000, 4 << 20]) {
      assert.equal((await grpc.unary("/t.T/Echo", Buffer.alloc(size, 7))).length, size);
    }
    await assert.rejects(grpc.unary("/t.T/Refuse", text("")), { status: "PERMISSION_DENIED", message: "nö: 100 %" });
    await assert.rejects(grpc.unary("/t.T/Bug", text("")), { status: "INTERNAL", message: "internal error" });
    await assert.rejects(grpc.unary("/t.T/None", text("")), { status: "UNIMPLEMENTED" });
    await assert.rejects(grpc.unary("/t.T/Echo", Buffer.alloc((4 << 20) + 1)), { status: "RESOURCE_EXHAUSTED" });
    assert.equal((await grpc.unary("/t.T/Meta", text(""), { metadata: { "x-a": "b" } })).toString(), '{"x-a":"b"}');
  });

  it("streams both ways, delivers what was sent before the end, and knows half-close", async () => {
    const grpc = client(await serve());
    const chat = await grpc.stream("/t.T/Chat");
    for (const word of ["a", "b"]) await chat.write(text(word));
    assert.equal((await chat.messages.next())?.toString(), "re: a");
    chat.end();
    const rest: string[] = [];
    for await (const message of chat.messages) rest.push(message.toString());
    assert.deepEqual(rest, ["re: b", "bye"]);
  });

  it("tells a streaming client that has not ended why its call is over", async () => {
    const refusing = { kind: "stream" as const, handle: () => Promise.reject(new GrpcError("PERMISSION_DENIED", "not you")) };
    const grpc = client(await serve({ handlers: { "/t.T/No": refusing } }));
    for (let round = 0; round < 20; round += 1) {
      const chat = await grpc.stream("/t.T/No");
      await assert.rejects(chat.messages.next(), { status: "PERMISSION_DENIED", message: "not you" });
    }
  });

  it("keeps deadlines on both sides and tells the handler", async () => {
    const grpc = client(await serve());
    await assert.rejects(grpc.unary("/t.T/Hang", text(""), { deadlineMs: 50 }), { status: "DEADLINE_EXCEEDED" });
    await waitUntil(() => aborted.length === 1, { what: "the handler to be told" });
    const controller = new AbortController();
    const hanging = grpc.unary("/t.T/Hang", text(""), { signal: controller.signal });
    setTimeout(() => controller.abort(), 30);
    await assert.rejects(hanging, { status: "CANCELLED" });
    await waitUntil(() => aborted.at(-1) === "CANCELLED", { what: "the handler to be told of the cancellation" });
  });

  it("ends streams on close, and a new server on the same socket takes over", async () => {
    const folder = await mkdtemp(join(tmpdir(), "grpc-"));
    group.defer(() => rm(folder, { recursive: true }));
    const listen = { path: join(folder, "s") };
    const first = await serve({ listen });
    assert.equal((await stat(listen.path)).mode & 0o777, 0o600);
    const grpc = client(first);
    const chat = await grpc.stream("/t.T/Chat");
    await chat.write(text("a"));
    await chat.messages.next();
    const hanging = assert.rejects(grpc.unary("/t.T/Hang", text("")), { status: "UNAVAILABLE" });
    const ended = assert.rejects(chat.messages.next(), { status: "UNAVAILABLE", message: "the server is closing" });
    await waitUntil(() => true, { what: "the calls to be under way" });
    await first.close(100);
    await ended;
    await hanging;
    await serve({ listen });
    assert.equal((await grpc.unary("/t.T/Echo", text("again"))).toString(), "again");
  });

  it("lets unary calls finish when it closes", async () => {
    const server = await serve({
      handlers: {
        "/t.T/Slow": {
          kind: "unary",
          handle: async (request, call) => {
            await sleep(200, undefined, { signal: call.signal });
            return request;
          },
        },
      },
    });
    const grpc = client(server);
    const slow = grpc.unary("/t.T/Slow", text("done"));
    await sleep(50);
    await Promise.all([server.close(5000), slow.then((answer) => assert.equal(answer.toString(), "done"))]);
  });

  it("closes in time also where somebody does not finish its handshake", async () => {
    const authority = createTestAuthority();
    const tls = { ...authority.mint("spiffe://t/server"), clientRoots: [authority.root], clientCertificate: "optional" as const };
    const server = await serve({ tls, limits: { tlsHandshakeTimeoutMs: 3_600_000 } });
    assert.ok("port" in server.address);
    const silent = connectSocket(server.address.port, "127.0.0.1").on("error", () => undefined);
    group.defer(() => void silent.destroy());
    await waitUntil(() => server.usage().connections === 1, { what: "its connection" });
    const ended = new Promise((resolve) => silent.once("close", resolve).resume());
    await Promise.all([server.close(100), ended]);
  });

  it("takes over a socket file that a killed process left, never one that is served", async () => {
    const folder = await mkdtemp(join(tmpdir(), "grpc-"));
    group.defer(() => rm(folder, { recursive: true }));
    const listen = { path: join(folder, "s") };
    await serve({ listen });
    await assert.rejects(serve({ listen }), { code: "MESH_LISTEN_FAILED" });
  });

  it("knows its peers by certificate, in every mode, and lets no bad one in", async () => {
    const authority = createTestAuthority();
    const foreign = createTestAuthority("foreign");
    const serverTls = { ...authority.mint("spiffe://t/cp"), clientRoots: [authority.root] };
    const unverified: string[] = [];
    const onUnverifiedPeer = ({ certificate, failure }: UnverifiedPeer): void => void unverified.push(`${certificate.subjectAltName} ${failure}`);
    const optional = await serve({ tls: { ...serverTls, clientCertificate: "optional" }, onUnverifiedPeer });
    const required = await serve({ tls: { ...serverTls, clientCertificate: "required" } });
    const who = (server: BoundGrpcServer, identity?: ReturnType<typeof authority.mint>): Promise<string> =>
      client(server, { tls: () => ({ roots: [authority.root], checkServer: () => undefined, ...(identity ? { identity } : {}) }) })
        .unary("/t.T/Who", text(""), { deadlineMs: 5000 })
        .then(String);
    assert.equal(await who(optional), "nobody");
    assert.equal(await who(optional, authority.mint("spiffe://t/a")), "URI:spiffe://t/a");
    assert.equal(await who(required, authority.mint("spiffe://t/b")), "URI:spiffe://t/b");
    await assert.rejects(who(required));
    await assert.rejects(who(required, foreign.mint("spiffe://t/b")));
    assert.deepEqual(unverified, []);
    await assert.rejects(who(optional, foreign.mint("spiffe://t/b")), { status: "UNAUTHENTICATED", message: /does not verify: UNABLE_TO/u });
    await assert.rejects(who(optional, authority.mint("spiffe://t/c", -60_000)), { status: "UNAUTHENTICATED", message: /does not verify: CERT_HAS_EXPIRED/u });
    assert.equal(unverified.length, 2);
    assert.match(unverified[0] ?? "", /^URI:spiffe:\/\/t\/b UNABLE_TO/u);
    assert.equal(unverified[1], "URI:spiffe://t/c CERT_HAS_EXPIRED");
  });

  it("never speaks to a server whose chain or name is wrong", async () => {
    const authority = createTestAuthority();
    const foreign = createTestAuthority();
    const server = await serve({ tls: { ...authority.mint("spiffe://t/evil"), clientRoots: [authority.root], clientCertificate: "none" } });
    const seen: string[] = [];
    const checkServer = (certificate: { subjectAltName?: string | undefined }): string | undefined => {
      seen.push(certificate.subjectAltName ?? "");
      return certificate.subjectAltName === "URI:spiffe://t/cp" ? undefined : "it is not the control plane";
    };
    const call = (roots: string[]): Promise<unknown> => client(server, { tls: () => ({ roots, checkServer }) }).unary("/t.T/Echo", text(""));
    await assert.rejects(call([authority.root]), { code: "MESH_SERVER_NOT_TRUSTED", message: /not the control plane/u });
    assert.deepEqual(seen, ["URI:spiffe://t/evil"]);
    await assert.rejects(call([foreign.root]), { code: "MESH_SERVER_NOT_TRUSTED" });
    await assert.rejects(call([]), { code: "MESH_SERVER_NOT_TRUSTED" });
    assert.equal(seen.length, 1, "the name of an unverified chain is not even looked at");
  });

  it("serves a new certificate to new connections and keeps the old ones", async () => {
    const authority = createTestAuthority();
    const tls = (id: string) => ({ ...authority.mint(id), clientRoots: [authority.root], clientCertificate: "none" as const });
    const server = await serve({ tls: tls("spiffe://t/1") });
    const seen: string[] = [];
    const grpc = client(server, {
      tls: () => ({ roots: [authority.root], checkServer: (certificate) => void seen.push(certificate.subjectAltName ?? "") }),
    });
    const chat = await grpc.stream("/t.T/Chat");
    server.setSecureContext(tls("spiffe://t/2"));
    grpc.reconnect();
    await grpc.unary("/t.T/Echo", text(""));
    await chat.write(text("alive"));
    assert.equal((await chat.messages.next())?.toString(), "re: alive");
    assert.deepEqual(seen, ["URI:spiffe://t/1", "URI:spiffe://t/2"]);
  });

  it("cuts a connection whose client certificate has expired", async () => {
    const authority = createTestAuthority();
    const server = await serve({ tls: { ...authority.mint("spiffe://t/cp"), clientRoots: [authority.root], clientCertificate: "required" } });
    const identity = authority.mint("spiffe://t/a", 2500);
    const chat = await client(server, { tls: () => ({ roots: [authority.root], identity, checkServer: () => undefined }) }).stream("/t.T/Chat");
    await chat.write(text("a"));
    await chat.messages.next();
    await assert.rejects(chat.messages.next(), { status: "UNAVAILABLE" });
  });

  it("asks a method who may call it before it reads a message, and tells the caller why not", async () => {
    let isHandled = false;
    const verdict = Promise.withResolvers<void>();
    const refuse = (): void => {
      throw new GrpcError("UNAUTHENTICATED", "who are you");
    };
    const server = await serve({
      handlers: {
        "/t.T/Never": { kind: "stream", authorize: refuse, handle: () => Promise.resolve(void (isHandled = true)) },
        "/t.T/NeverOnce": { kind: "unary", authorize: refuse, handle: (request) => ((isHandled = true), request) },
        "/t.T/Later": { kind: "unary", authorize: () => verdict.promise, handle: (request) => request },
      },
    });
    const grpc = client(server);
    const endless = Buffer.concat([Buffer.from([0, 0, 64, 0, 0]), Buffer.alloc(50_000)]);
    for (let round = 0; round < 20; round += 1) {
      const silent = await grpc.stream("/t.T/Never");
      await assert.rejects(silent.messages.next(), { status: "UNAUTHENTICATED", message: "who are you" });
      const sending = await grpc.stream("/t.T/NeverOnce");
      sending.write(endless).catch(() => undefined);
      await assert.rejects(sending.messages.next(), { status: "UNAUTHENTICATED" });
      await assert.rejects(grpc.unary("/t.T/NeverOnce", Buffer.alloc(4 << 20)), { status: "UNAUTHENTICATED" });
    }
    assert.deepEqual([isHandled, server.usage().bufferedBytes], [false, 0]);

    const waiting = grpc.unary("/t.T/Later", Buffer.alloc(4 << 20, 7));
    await waitUntil(() => server.usage().calls === 1, { what: "the call" });
    await sleep(50);
    assert.deepEqual(server.usage(), { connections: 1, calls: 1, bufferedBytes: 0 });
    verdict.resolve();
    assert.deepEqual(await waiting, Buffer.alloc(4 << 20, 7), "nothing of it is lost");
    await waitUntil(() => server.usage().calls === 0, { what: "the end of the call" });
  });

  it("keeps the limits of a method's messages", async () => {
    const small = { kind: "unary" as const, maxMessageBytes: 100, handle: (request: Uint8Array) => request };
    const grpc = client(await serve({ handlers: { ...handlers, "/t.T/Small": small } }));
    assert.equal((await grpc.unary("/t.T/Small", Buffer.alloc(100))).length, 100);
    await assert.rejects(grpc.unary("/t.T/Small", Buffer.alloc(101)), { status: "RESOURCE_EXHAUSTED" });
    assert.equal((await grpc.unary("/t.T/Echo", Buffer.alloc(101))).length, 101);
  });

  it("reads no further while large messages wait", async () => {
    const goOn = Promise.withResolvers<void>();
    let received = 0;
    const slow: GrpcServerOptions["handlers"][string] = {
      kind: "stream",
      async handle({ messages }) {
        await goOn.promise;
        for await (const message of messages) received += message.length;
      },
    };
    const server = await serve({ handlers: { ...handlers, "/t.T/Slow": slow } });
    const grpc = client(server, { maxQueuedBytes: 64 << 20 });
    const stream = await grpc.stream("/t.T/Slow");
    const sent = Promise.all(Array.from({ length: 12 }, () => stream.write(Buffer.alloc(1 << 20))));
    await waitUntil(() => server.usage().bufferedBytes >= 4 << 20, { what: "as much as may wait" });
    for (let turn = 0; turn < 50; turn += 1) await grpc.unary("/t.T/Echo", text("meanwhile"));
    assert.ok(server.usage().bufferedBytes <= 5 << 20, `${server.usage().bufferedBytes} bytes wait`);
    goOn.resolve();
    await sent;
    stream.end();
    await waitUntil(() => received === 12 << 20, { what: "all of it" });
  });

  it("ends a stream whose first message does not come, and none that has said something", async () => {
    const server = await serve({ limits: { firstMessageTimeoutMs: 3_000 } });
    const grpc = client(server);
    const talking = await grpc.stream("/t.T/Chat");
    await talking.write(text("a"));
    assert.equal((await talking.messages.next())?.toString(), "re: a");
    const silent = await grpc.stream("/t.T/Chat");
    assert.ok("port" in server.address);
    const session = connectHttp2(`http://127.0.0.1:${server.address.port}`);
    group.defer(() => session.destroy());
    const partial = session.request({ ":method": "POST", ":path": "/t.T/Chat", "content-type": "application/grpc" });
    partial.write(Buffer.concat([Buffer.from([0, 0, 0, 3, 232]), Buffer.alloc(999)]));
    const ending = new Promise<Record<string, unknown>>((resolve) => partial.once("trailers", resolve)).finally(() => partial.close());
    partial.resume();
    await waitUntil(() => server.usage().bufferedBytes === 1_000, { what: "a part of a message" });
    await assert.rejects(silent.messages.next(), { status: "DEADLINE_EXCEEDED", message: "the first message did not arrive in time" });
    assert.equal((await ending)["grpc-status"], "4");
    await waitUntil(() => server.usage().calls === 1, { what: "the end of both" });
    assert.equal(server.usage().bufferedBytes, 0);
    await talking.write(text("b"));
    assert.equal((await talking.messages.next())?.toString(), "re: b");
  });

  it("gives up a connection that makes no call, and a client one that is dead", async () => {
    const server = await serve({ limits: { firstCallTimeoutMs: 50 } });
    assert.ok("port" in server.address);
    const idle = connectHttp2(`http://127.0.0.1:${server.address.port}`);
    await new Promise((resolve) => idle.once("close", resolve));
    const deaf = createServer((socket) => socket.resume());
    await new Promise<void>((resolve) => deaf.listen(0, "127.0.0.1", resolve));
    group.defer(() => void deaf.close());
    const address = deaf.address();
    assert.ok(address !== null && typeof address === "object");
    const grpc = group.own(connectGrpc({ target: { host: "127.0.0.1", port: address.port }, keepaliveMs: 50 }));
    await assert.rejects(grpc.unary("/t.T/Echo", text("")), { status: "UNAVAILABLE" });
  });

  it("answers what is not gRPC with an HTTP status, and a compressed message with UNIMPLEMENTED", async () => {
    const server = await serve();
    assert.ok("port" in server.address);
    const session = connectHttp2(`http://127.0.0.1:${server.address.port}`);
    group.defer(() => session.destroy());
    const ask = (headers: Record<string, string>, body?: Buffer): Promise<Record<string, unknown>> =>
      new Promise((resolve) => {
        const request = session.request({ ":path": "/t.T/Echo", ...headers }, { endStream: body === undefined });
        request.on("response", (answer) => resolve(answer));
        request.on("error", () => undefined);
        request.resume();
        if (body !== undefined) request.end(body);
      });
    assert.equal((await ask({ ":method": "GET" }))[":status"], 405);
    assert.equal((await ask({ ":method": "POST", "content-type": "text/html" }, Buffer.alloc(0)))[":status"], 415);
    const refused = await ask({ ":method": "POST", "content-type": "application/grpc", "grpc-encoding": "gzip" }, Buffer.from([1, 0, 0, 0, 0]));
    assert.equal(refused["grpc-status"], "12");
    assert.equal(refused["grpc-accept-encoding"], "identity");
  });
});
