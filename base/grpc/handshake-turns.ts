import type { Server, Socket } from "node:net";

export interface HandshakeTurns {
  /** Who has waited for so long has given up. */
  readonly patienceMs: number;
  /** A clock that is never set; the process's own unless given. */
  readonly nowMs?: () => number;
}

/** A handshake is some 2 ms of work here: this many leave a turn of the event loop short. */
const FEWEST_PER_TURN = 8;
/** Where turns are long, because there is much else to do, half of the time is the handshakes'. */
const TURN_MS_PER_HANDSHAKE = 4;

/**
 * Has the handshakes of new connections begin a few at a time, with everything
 * else between them. A whole fleet that comes at once must not keep those
 * waiting who are connected: their pings and reports would be late, and they
 * would be taken for lost. Who waits costs a socket. Where more come than there
 * is time for, the youngest is next: the oldest gives up soon, and its handshake
 * would be for nobody.
 */
export function giveHandshakesTurns(server: Server, { patienceMs, nowMs = () => performance.now() }: HandshakeTurns): void {
  const starters = server.listeners("connection") as ((socket: Socket) => void)[];
  const [start] = starters;
  // What Node's own TLS server does with a connection; a release that does it elsewhere must not go unnoticed.
  if (start === undefined || starters.length > 1) throw new Error(`a TLS server of this Node has ${starters.length} listeners of its own for connections, not one`);
  /** The oldest first. */
  const waiting: { readonly socket: Socket; readonly sinceMs: number }[] = [];
  let lastTurnMs = 0;

  const run = (): void => {
    const now = nowMs();
    let left = Math.max(FEWEST_PER_TURN, Math.floor((now - lastTurnMs) / TURN_MS_PER_HANDSHAKE));
    lastTurnMs = now;
    // At once, and not when its turn would be: while more come than there is time for, that is never.
    const firstPatient = waiting.findIndex(({ sinceMs }) => now - sinceMs < patienceMs);
    for (const { socket } of waiting.splice(0, firstPatient < 0 ? waiting.length : firstPatient)) socket.destroy();
    while (left > 0) {
      const next = waiting.pop();
      if (next === undefined) return;
      if (next.socket.destroyed) continue;
      left -= 1;
      start.call(server, next.socket);
    }
    if (waiting.length > 0) setImmediate(run);
  };
  server.removeAllListeners("connection");
  server.on("connection", (socket: Socket) => {
    // It may break before anybody else listens.
    socket.once("error", () => socket.destroy());
    waiting.push({ socket, sinceMs: nowMs() });
    if (waiting.length > 1) return;
    lastTurnMs = nowMs();
    setImmediate(run);
  });
}
