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
import { forwardQuery, saysNothing } from "./forward.ts";
import { watchIpv6Route } from "./ipv6-route.ts";
import type { Ipv6Route } from "./ipv6-route.ts";
import { EMPTY_NAME_TABLE } from "./name-table.ts";
import type { NameTable } from "./name-table.ts";
import { socketsAt } from "./passed-sockets.ts";
import type { PassedSockets } from "./passed-sockets.ts";
import type { HostResolvers } from "./resolv-conf.ts";
import { readFrames, writeFrame } from "./tcp-frame.ts";

export interface DnsServerOptions {
  /**
   * Loopback only: an answer from a wildcard socket has the wrong source for a
   * redirected query. One that the host does not have is left out, unless there is no other.
   */
  readonly addresses: readonly string[];
  /** 0 for any, the same for all. */
  readonly port: number;
  /** Sockets of these addresses and this port that were open before us are read from instead of new ones. */
  readonly passed?: PassedSockets;
  /** What is known of names from the start: whatever waits in a passed socket is answered by it. */
  readonly table?: NameTable;
  readonly resolvers: HostResolvers;
  readonly ipv6?: Ipv6Route;
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
  /** True where all of its sockets were passed to it, so that queries wait in them for whoever is next. */
  readonly isHandedOn: boolean;
  setTable(table: NameTable): void;
  counters(): DnsCounters;
  close(): Promise<void>;
}

/** @throws CodedError MESH_LISTEN_FAILED */
export async function startDnsServer(options: DnsServerOptions): Promise<DnsServer> {
  const { resolvers, ipv6 = watchIpv6Route(), clock, logger } = options;
  const limits = { ...DEFAULT_LIMITS, ...options.limits };
  const tasks = new TaskGroup();
  let table: NameTable = options.table ?? EMPTY_NAME_TABLE;
  let inFlight = 0;
  let isClosed = false;
  const counters = { answered: 0, forwarded: 0, failed: 0, dropped: 0 };

  /** Undefined: the client gets no answer. */
  const answer = async (query: Buffer, transport: "udp" | "tcp"): Promise<Buffer | undefined> => {
    const { upstreams, searchDomains } = await resolvers.current(clock.now());
    const reachesIpv6 = table.someIpv6 === undefined || (await ipv6.reaches(table.someIpv6, clock.now()));
    const verdict = judgeQuery(query, { table, searchDomains, reachesIpv6, transport });
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
      // Where we know an answer ourselves nobody waits for long.
      const timeoutMs = verdict.otherwise === undefined ? limits.timeoutMs : limits.patienceMs;
      const reply = await forwardQuery(query, upstreams, { transport, patienceMs: limits.patienceMs, timeoutMs });
      if (verdict.otherwise !== undefined && (reply === undefined || saysNothing(reply))) return verdict.otherwise;
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

  const { at, problems } = socketsAt(options.passed ?? { sockets: [], problems: [] }, options.addresses, options.port);
  for (const problem of problems) logger.warn({ problem }, "a socket that systemd passed is not used");
  try {
    let { port } = options;
    const opened = new Set<string>();
    let lacking: unknown = new Error("no address is given");
    let served = 0;
    for (const address of options.addresses) {
      const descriptorOf = (transport: "udp" | "tcp"): number | undefined => {
        const descriptor = at.get(`${transport} ${address}`);
        if (descriptor === undefined) opened.add(`${transport} ${address}`);
        return descriptor;
      };
      try {
        const tcp = await listenTcp(address, port, descriptorOf("tcp"), limits, handle);
        tasks.own({ close: () => closeTcp(tcp) });
        port = boundPort(tcp.server);
        const udp = await listenUdp(address, port, descriptorOf("udp"), handle);
        tasks.own({ close: () => void udp.close() });
        served += 1;
      } catch (failure) {
        if (!NO_SUCH_ADDRESS.has((failure as NodeJS.ErrnoException).code ?? "")) throw failure;
        lacking = failure;
      }
    }
    if (served === 0) throw lacking;
    return {
      port,
      isHandedOn: opened.size === 0,
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
    const isTaken = (cause as NodeJS.ErrnoException).code === "EADDRINUSE";
    throw new CodedError("MESH_LISTEN_FAILED", `cannot listen for DNS: ${messageOf(cause)}`, {
      cause,
      facts: { addresses: options.addresses, port: options.port },
      ...(isTaken ? { hint: "another program, or ironmesh-dns.socket for an agent whose own unit does not say Sockets=ironmesh-dns.socket (one from before there was any): take systemd/ironmesh-agent.service anew, or stop and disable that socket" } : {}),
    });
  }
}

/** A host without IPv6 has no ::1. */
const NO_SUCH_ADDRESS: ReadonlySet<string> = new Set(["EADDRNOTAVAIL", "EAFNOSUPPORT"]);

type Handle = (query: Buffer, transport: "udp" | "tcp", send: (reply: Buffer) => void) => void;

async function listenUdp(address: string, port: number, descriptor: number | undefined, handle: Handle): Promise<UdpSocket> {
  const socket = createSocket({ type: isIPv6(address) ? "udp6" : "udp4", ipv6Only: isIPv6(address) });
  socket.on("message", (query, client) => {
    handle(query, "udp", (reply) => {
      // A client that is gone answers with an ICMP error, which is nobody's problem.
      socket.send(reply, client.port, client.address, () => undefined);
    });
  });
  // Asked for first: with a descriptor it listens at once.
  const isListening = once(socket, "listening");
  socket.bind(descriptor === undefined ? { port, address } : { fd: descriptor });
  await isListening;
  socket.on("error", () => undefined);
  return socket;
}

interface TcpListener {
  readonly server: Server;
  readonly connections: Set<Socket>;
}

async function listenTcp(address: string, port: number, descriptor: number | undefined, limits: DnsLimits, handle: Handle): Promise<TcpListener> {
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
  server.listen(descriptor === undefined ? { host: address, port, ipv6Only: isIPv6(address) } : { fd: descriptor });
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
