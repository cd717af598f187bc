import assert from "node:assert/strict";
import { createServer, type Server, Socket } from "node:net";
import { giveHandshakesTurns } from "../../../../base/grpc/handshake-turns.ts";

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const PATIENCE_MS = 10_000;

describe("the turns of handshakes", () => {
  let begun: Socket[];
  let server: Server;
  let now: number;
  beforeEach(() => {
    begun = [];
    now = 1_000;
    server = createServer((socket) => void begun.push(socket));
    giveHandshakesTurns(server, { patienceMs: PATIENCE_MS, nowMs: () => now });
  });
  const come = (count: number): Socket[] => {
    const sockets = Array.from({ length: count }, () => new Socket());
    for (const socket of sockets) server.emit("connection", socket);
    return sockets;
  };
  const begunInTurn = async (): Promise<number> => {
    const before = begun.length;
    await turn();
    return begun.length - before;
  };

  it("begin a few at a time, with everything else between them, and none for who has gone", async () => {
    const sockets = come(20);
    assert.equal(begun.length, 0);
    for (const gone of [sockets[2], sockets[15]]) gone?.destroy();
    assert.deepEqual([await begunInTurn(), await begunInTurn(), await begunInTurn(), await begunInTurn()], [8, 8, 2, 0]);
    assert.deepEqual(new Set(begun), new Set(sockets.filter((socket) => !socket.destroyed)));
    const [next] = come(1);
    assert.equal(await begunInTurn(), 1, "a later one as well");
    assert.equal(begun.at(-1), next);
  });

  it("have half of the time where turns are long", async () => {
    come(108);
    await turn();
    now += 400;
    assert.equal(await begunInTurn(), 100);
  });

  it("are the youngest's first, and not those of who has given up", async () => {
    const old = come(20);
    await turn();
    now += PATIENCE_MS - 1;
    const young = come(4);
    begun = [];
    now -= PATIENCE_MS - 1;
    await turn();
    assert.deepEqual(begun.slice(0, 4).map((socket) => young.indexOf(socket)), [3, 2, 1, 0]);
    now += PATIENCE_MS;
    assert.equal(await begunInTurn(), 0);
    assert.equal(old.filter((socket) => socket.destroyed).length, 8);
    come(1);
    assert.equal(await begunInTurn(), 1);
  });

  it("let everybody go in time who has given up, also while more come than there is time for", async () => {
    const [turns, eachMs] = [600, 20];
    const sockets: Socket[] = [];
    for (let count = 0; count < turns; count += 1) {
      sockets.push(...come(10));
      now += eachMs;
      await turn();
    }
    const isBegun = new Set(begun);
    const old = 10 * (turns - PATIENCE_MS / eachMs);
    const givenUp = sockets.slice(0, old).filter((socket) => !isBegun.has(socket));
    assert.ok(givenUp.length > 100);
    assert.deepEqual(givenUp.filter((socket) => !socket.destroyed).length, 0);
    assert.ok(sockets.slice(old + 10).every((socket) => !socket.destroyed), "and nobody before");
  });
});
