import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type ServerHttp2Session } from "node:http2";
import type { AddressInfo } from "node:net";
import { Worker } from "node:worker_threads";
import { describe, it } from "mocha";
import { guardSession } from "../../../../base/grpc/session-guard.ts";
import { waitUntil } from "../../../support/wait-until.ts";

/** A peer in a thread of its own, which answers pings while this one is busy. */
const PEER = `
  const { workerData } = require("node:worker_threads");
  const session = require("node:http2").connect("http://127.0.0.1:" + workerData.port);
  session.on("error", () => {});
`;

/** Longer than what a late look at the time counts for. */
const KEEPALIVE_MS = 500;

describe("the guard of a connection", () => {
  /** Serves one peer with a guard; `busy` is told of each ping that was handed over. */
  const guardWhile = async (busy: (pings: number) => void): Promise<void> => {
    const server = createServer();
    const sessions: ServerHttp2Session[] = [];
    server.on("session", (session: ServerHttp2Session) => {
      sessions.push(session);
      guardSession(session, { keepaliveMs: KEEPALIVE_MS });
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const peer = new Worker(PEER, { eval: true, workerData: { port: (server.address() as AddressInfo).port } });
    try {
      await waitUntil(() => sessions.length > 0, { what: "the peer" });
      const [session] = sessions;
      assert.ok(session !== undefined);
      const ping = session.ping.bind(session) as (answered: () => void) => boolean;
      let pings = 0;
      const pingAndBeBusy = (answered: () => void): boolean => {
        pings += 1;
        const isTaken = ping(answered);
        busy(pings);
        return isTaken;
      };
      Object.assign(session, { ping: pingAndBeBusy });
      await waitUntil(() => pings > 2 || session.destroyed, { what: "some pings" });
      assert.equal(session.destroyed, false);
    } finally {
      await peer.terminate();
      for (const session of sessions) session.destroy();
      server.close();
    }
  };
  const beBusy = (): void => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2 * KEEPALIVE_MS);

  it("gives up no peer that answered while we were busy", () =>
    // From where the ping is written, before its answer is read, until after the next is due.
    guardWhile(() => setImmediate(() => setImmediate(beBusy))));

  it("gives up no peer whose ping was not written because we were busy", () => guardWhile(beBusy));
});
