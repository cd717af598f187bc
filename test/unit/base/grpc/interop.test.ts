import assert from "node:assert/strict";
import * as grpcJs from "@grpc/grpc-js";
import { connectGrpc } from "../../../../base/grpc/client.ts";
import { serveGrpc } from "../../../../base/grpc/server.ts";
import { GrpcError } from "../../../../base/grpc/status.ts";
import { silentLogger } from "../../../../base/logger.ts";
import { TaskGroup } from "../../../../base/task-group.ts";

const identity = (value: Buffer): Buffer => Buffer.from(value);
const method = { requestSerialize: identity, requestDeserialize: identity, responseSerialize: identity, responseDeserialize: identity };

describe("gRPC with another make", () => {
  let group: TaskGroup;
  beforeEach(() => {
    group = new TaskGroup();
  });
  afterEach(() => group.close());

  it("serves a grpc-js client", async () => {
    const server = group.own(
      await serveGrpc({
        listen: { host: "127.0.0.1", port: 0 },
        logger: silentLogger,
        handlers: {
          "/t.T/Echo": { kind: "unary", handle: (request) => request },
          "/t.T/Refuse": {
            kind: "unary",
            handle: () => {
              throw new GrpcError("FAILED_PRECONDITION", "später");
            },
          },
          "/t.T/Chat": {
            kind: "stream",
            handle: async ({ messages, write }) => {
              for await (const message of messages) await write([message, message]);
            },
          },
        },
      }),
    );
    assert.ok("port" in server.address);
    const client = new grpcJs.Client(`127.0.0.1:${server.address.port}`, grpcJs.credentials.createInsecure());
    group.defer(() => client.close());
    const unary = (path: string, body: Buffer): Promise<Buffer> =>
      new Promise((resolve, reject) => {
        client.makeUnaryRequest(path, identity, identity, body, (error, value) => (error ? reject(error) : resolve(value ?? Buffer.alloc(0))));
      });
    assert.equal((await unary("/t.T/Echo", Buffer.alloc(300_000, 1))).length, 300_000);
    await assert.rejects(unary("/t.T/Refuse", Buffer.alloc(0)), { code: 9, details: "später" });
    await assert.rejects(unary("/t.T/None", Buffer.alloc(0)), { code: 12 });
    const chat = client.makeBidiStreamRequest("/t.T/Chat", identity, identity);
    chat.write(Buffer.from("ab"));
    chat.end(Buffer.alloc(100_000, 2));
    const sizes: number[] = [];
    for await (const message of chat) sizes.push((message as Buffer).length);
    assert.deepEqual(sizes, [4, 200_000]);
  });

  it("calls a grpc-js server", async () => {
    const server = new grpcJs.Server();
    server.addService(
      {
        Echo: { ...method, path: "/t.T/Echo", requestStream: false, responseStream: false },
        Chat: { ...method, path: "/t.T/Chat", requestStream: true, responseStream: true },
      },
      {
        Echo: (call: grpcJs.ServerUnaryCall<Buffer, Buffer>, reply: grpcJs.sendUnaryData<Buffer>) =>
          call.request.length === 0 ? reply({ code: grpcJs.status.NOT_FOUND, details: "nichts" }) : reply(null, call.request),
        Chat: (call: grpcJs.ServerDuplexStream<Buffer, Buffer>) => {
          call.on("data", (message: Buffer) => void call.write(message));
          call.on("end", () => call.end());
        },
      },
    );
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync("127.0.0.1:0", grpcJs.ServerCredentials.createInsecure(), (error, bound) => (error ? reject(error) : resolve(bound)));
    });
    group.defer(() => server.forceShutdown());
    const client = group.own(connectGrpc({ target: { host: "127.0.0.1", port } }));
    assert.equal((await client.unary("/t.T/Echo", Buffer.alloc(300_000, 1))).length, 300_000);
    await assert.rejects(client.unary("/t.T/Echo", Buffer.alloc(0)), { status: "NOT_FOUND", message: "nichts" });
    const chat = await client.stream("/t.T/Chat");
    await chat.write(Buffer.alloc(200_000, 3));
    chat.end();
    const sizes: number[] = [];
    for await (const message of chat.messages) sizes.push(message.length);
    assert.deepEqual(sizes, [200_000]);
  });
});
