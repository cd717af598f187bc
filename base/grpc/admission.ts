import type { Server, Socket } from "node:net";

/** The two ends of a connection, of which one is open at a time. */
export type Ends = Pick<Socket, "remoteAddress" | "remotePort" | "localAddress" | "localPort">;

export interface AdmissionLimits {
  readonly maxConnections: number;
  /** Of those, how many may be without a certificate that verifies. */
  readonly maxAnonymousConnections: number;
  /** A connection was cut to make place, or refused because there was none. */
  readonly onFull: () => void;
}

/**
 * The places of a server that lets strangers in. Every connection is a
 * stranger's until it has shown that it may call. Where all places are taken,
 * the oldest stranger makes place for the newcomer, so that strangers never
 * hold the places of those who are known; a newcomer is refused only where all
 * are known.
 */
export interface Admission {
  /** The place of a connection; undefined where it has lost it already. */
  placeOf(connection: Ends): Place | undefined;
  /** Open connections. */
  count(): number;
}

export interface Place {
  /** The handshake is over and no certificate was shown that verifies: where too many are like that, the oldest is cut that is not being answered. */
  setAnonymous(): void;
  /**
   * A request of the connection is being answered until the returned function is called. Where that takes long, it is
   * not the caller's fault; but a connection is spared for its first request alone, so that nobody who asks again and
   * again keeps newcomers out.
   */
  answer(): () => void;
  /** The connection's caller may call (it keeps its place), or may not. */
  judge(isKnown: boolean): void;
}

/** Watches over the connections of a server that does not listen yet. */
export function admitConnections(server: Server, limits: AdmissionLimits): Admission {
  const { maxConnections, maxAnonymousConnections, onFull } = limits;
  // In the order of their coming.
  const all = new Map<string, Socket>();
  const strangers = new Map<string, Socket>();
  const anonymous = new Map<string, Socket>();
  const answered = new Set<Socket>();
  const forget = (key: string, socket: Socket): void => {
    // The same two ends may have met again meanwhile.
    for (const places of [all, strangers, anonymous]) if (places.get(key) === socket) places.delete(key);
  };
  const cutOldest = (places: ReadonlyMap<string, Socket>, isSpared: (socket: Socket) => boolean = () => false): boolean => {
    onFull();
    const oldest = places.entries().find(([, socket]) => !isSpared(socket));
    if (oldest === undefined) return false;
    forget(...oldest);
    oldest[1].destroy();
    return true;
  };

  server.on("connection", (socket: Socket) => {
    if (all.size >= maxConnections && !cutOldest(strangers)) {
      socket.destroy();
      return;
    }
    const key = keyOf(socket);
    all.set(key, socket);
    strangers.set(key, socket);
    socket.once("close", () => forget(key, socket));
  });
  return {
    placeOf(connection) {
      const key = keyOf(connection);
      const socket = all.get(key);
      if (socket === undefined) return undefined;
      let hasAsked = false;
      return {
        setAnonymous() {
          anonymous.set(key, socket);
          if (anonymous.size > maxAnonymousConnections) cutOldest(anonymous, (one) => answered.has(one));
        },
        answer() {
          if (hasAsked) return () => {};
          hasAsked = true;
          answered.add(socket);
          return () => answered.delete(socket);
        },
        judge(isKnown) {
          // A late verdict is not about the connection that has these ends by now.
          if (all.get(key) !== socket) return;
          if (isKnown) strangers.delete(key);
          else strangers.set(key, socket);
        },
      };
    },
    count: () => all.size,
  };
}

function keyOf({ remoteAddress, remotePort, localAddress, localPort }: Ends): string {
  return `${remoteAddress} ${remotePort} ${localAddress} ${localPort}`;
}
