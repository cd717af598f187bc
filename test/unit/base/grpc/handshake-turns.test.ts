import assert from "node:assert/strict";
import { createServer, Socket } from "node:net";
import { giveHandshakesTurns } from "../../../../base/grpc/handshake-turns.ts";

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe("the turns of handshakes", () => {
  it("begin a few at a time and in order, with everything else between them, and none for who has gone", async () => {
    const begun: Socket[] = [];
    const server = createServer((socket) => void begun.push(socket));
    giveHandshakesTurns(server);
    const sockets = Array.from({ length: 40 }, () => new Socket());
    for (const socket of sockets) server.emit("connection", socket);
    assert.equal(begun.length, 0);
    for (const gone of [sockets[2], sockets[30]]) gone?.destroy();
    const late = new Socket();
    const perTurn: number[] = [];
    for (let before = 0; begun.length < 39; before = begun.length) {
      await turn();
      if (perTurn.length === 1) server.emit("connection", late);
      perTurn.push(begun.length - before);
      assert.ok(perTurn.length < 20, "nobody is forgotten");
    }
    assert.ok(Math.max(...perTurn) <= 8, `in each turn: ${perTurn.join(", ")}`);
    assert.deepEqual(begun, [...sockets.filter((socket) => !socket.destroyed), late]);
    const next = new Socket();
    server.emit("connection", next);
    await turn();
    await turn();
    assert.equal(begun.at(-1), next, "a later one as well");
    for (const socket of begun) socket.destroy();
  });
});
