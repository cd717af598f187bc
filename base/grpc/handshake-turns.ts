import type { Server, Socket } from "node:net";

/** A handshake is some 2 ms of work here: so many leave a turn of the event loop short. */
const HANDSHAKES_PER_TURN = 8;

/**
 * Has the handshakes of new connections begin a few at a time, in the order of
 * their coming, with everything else between them. A whole fleet that comes at
 * once must not keep those waiting who are connected: their pings and reports
 * would be late, and they would be taken for lost. Who waits costs a socket; who
 * goes away meanwhile costs no handshake.
 */
export function giveHandshakesTurns(server: Server): void {
  const starters = server.listeners("connection") as ((socket: Socket) => void)[];
  // What Node's own TLS server does with a connection; a release that does it elsewhere must not go unnoticed.
  if (starters.length !== 1) throw new Error(`a TLS server of this Node has ${starters.length} listeners of its own for connections, not one`);
  const [start] = starters;
  let waiting: Socket[] = [];

  const run = (): void => {
    let left = HANDSHAKES_PER_TURN;
    let at = 0;
    for (const socket of waiting) {
      if (left === 0) break;
      at += 1;
      if (socket.destroyed) continue;
      left -= 1;
      start?.call(server, socket);
    }
    waiting = waiting.slice(at);
    if (waiting.length > 0) setImmediate(run);
  };
  server.removeAllListeners("connection");
  server.on("connection", (socket: Socket) => {
    // It may break before anybody else listens.
    socket.once("error", () => socket.destroy());
    waiting.push(socket);
    if (waiting.length === 1) setImmediate(run);
  });
}
