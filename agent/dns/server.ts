import { createSocket } from "node:dgram";
import type { Socket as UdpSocket } from "node:dgram";
import { once } from "node:events";
import { createServer, isIPv6 } from "node:net";
import type { Server, Socket } from "node:net";

import type { Clock } from "../../base/clock.ts";
import { CodedError, messageOf } from "../../base/coded-error.ts";
import type { Logger } from "../../base/logger.ts";
import { TaskGroup } from "../../base/task-group.ts";
import type { Closable } from "../../base/task-group.ts";
import { failedReply, judgeQuery } from "./answer.ts";
import { forwardQuery } from "./forward.ts";
import { EMPTY_NAME_TABLE } from "./name-table.ts";
import type { NameTable } from "./name-table.ts";
import type { HostResolvers } from "./resolv-conf.ts";

import { readFrames, writeFrame } from "./tcp-frame.ts";

export interface DnsServerOptions {
  /** Loopback only: an answer from a wildcard socket has the wrong source for a redirected query. */
  readonly addresses: readonly string[];
  /** 0 for any, the same for all. */
  readonly port: number;
  readonly resolvers: HostResolvers;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly limits?: Partial<DnsLimits>;
}

export interface DnsLimits {
  /** Queries that wait for somebody else's answer; more are dropped, and the client asks again. */
  readonly maxForwarded: number;
  readonly maxConnections: number;
  readonly idleMs: number;
  readonly patienceMs: number;
  readonly timeoutMs: number;
}

const DEFAULT_LIMITS: DnsLimits = { maxForwarded: 1_000, maxConnections: 200, idleMs: 10_000, patienceMs: 1_000, timeoutMs: 5_000 };

export interface DnsCounters {
  readonly answered: number;
  readonly forwarded: number;
  readonly failed: number;
  readonly dropped: number;
}

/** The host's resolver for names of the mesh; every other name it passes on. */
export interface DnsServer extends Closable {
  readonly port: number;
  setTable(table: NameTable): void;
  counters(): DnsCounters;
  close(): Promise<void>;
}

/** @throws CodedError MESH_LISTEN_FAILED */
export async function startDnsServer(options: DnsServerOptions): Promise<DnsServer> {
  const { resolvers, clock, logger } = options;
  const limits = { ...DEFAULT_LIMITS, ...options.limits };
  const tasks = new TaskGroup();
  let table: NameTable = EMPTY_NAME_TABLE;
  let inFlight = 0;
  let isClosed = false;
  const counters = { answered: 0, forwarded: 0, failed: 0, dropped: 0 };

  /** Undefined: the client gets no answer. */
  const answer = async (query: Buffer, transport: "udp" | "tcp"): Promise<Buffer | undefined> => {
    const { upstreams, searchDomains } = await resolvers.current(clock.now());
    const verdict = judgeQuery(query, table, searchDomains, transport);
    if (verdict.kind === "ignore") return undefined;
    if (verdict.kind === "reply") {
      counters.answered += 1;
      return verdict.bytes;
    }
    if (inFlight >= limits.maxForwarded) {
      counters.dropped += 1;
      return undefined;
    }
    inFlight += 1;
    counters.forwarded += 1;
    try {
      const reply = await forwardQuery(query, upstreams, { transport, patienceMs: limits.patienceMs, timeoutMs: limits.timeoutMs });
      if (reply === undefined) counters.failed += 1;
      return reply ?? failedReply(query);
    } finally {
      inFlight -= 1;
    }
  };
  const handle = (query: Buffer, transport: "udp" | "tcp", send: (reply: Buffer) => void): void => {
    answer(query, transport).then(
      (reply) => {
        // Somebody else's answer may come when there is no socket left to pass it on.
        if (reply !== undefined && !isClosed) send(reply);
      },
      (failure: unknown) => logger.error({ err: failure }, "a name could not be looked up"),
    );
  };

  try {
    let { port } = options;
    for (const address of options.addresses) {
      const tcp = await listenTcp(address, port, limits, handle);
      tasks.own({ close: () => closeTcp(tcp) });
      port = boundPort(tcp.server);
      const udp = await listenUdp(address, port, handle);
      tasks.own({ close: () => void udp.close() });
    }
    return {
      port,
      setTable(next) {
        table = next;
      },
      counters: () => ({ ...counters }),
      close() {
        isClosed = true;
        return tasks.close();
      },
    };
  } catch (cause) {
    await tasks.close();
    throw new CodedError("MESH_LISTEN_FAILED", `cannot listen for DNS: ${messageOf(cause)}`, { cause, facts: { addresses: options.addresses, port: options.port } });
  }
}

type Handle = (query: Buffer, transport: "udp" | "tcp", send: (reply: Buffer) => void) => void;

async function listenUdp(address: string, port: number, handle: Handle): Promise<UdpSocket> {
  const socket = createSocket({ type: isIPv6(address) ? "udp6" : "udp4", ipv6Only: isIPv6(address) });
  socket.on("message", (query, client) => {
    handle(query, "udp", (reply) => {
      // A client that is gone answers with an ICMP error, which is nobody's problem.
      socket.send(reply, client.port, client.address, () => undefined);
    });
  });
  socket.bind(port, address);
  await once(socket, "listening");
  socket.on("error", () => undefined);
  return socket;
}

interface TcpListener {
  readonly server: Server;
  readonly connections: Set<Socket>;
}

async function listenTcp(address: string, port: number, limits: DnsLimits, handle: Handle): Promise<TcpListener> {
  const connections = new Set<Socket>();
  const server = createServer((socket) => {
    connections.add(socket);
    socket.once("close", () => connections.delete(socket));
    socket.on("error", () => undefined);
    socket.setTimeout(limits.idleMs, () => socket.destroy());
    readFrames(socket, (query) => {
      handle(query, "tcp", (reply) => {
        if (!socket.writable || socket.writableLength > 1 << 20) socket.destroy();
        else writeFrame(socket, reply);
      });
    });
  });
  server.maxConnections = limits.maxConnections;
  server.listen({ host: address, port, ipv6Only: isIPv6(address) });
  await once(server, "listening");
  return { server, connections };
}

async function closeTcp({ server, connections }: TcpListener): Promise<void> {
  for (const connection of connections) connection.destroy();
  await new Promise<void>((resolve) => server.close(() => resolve()));
}

function boundPort(server: Server): number {
  const address = server.address();
  return typeof address === "object" && address !== null ? address.port : 0;
}
