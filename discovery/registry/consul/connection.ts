import http from "node:http";
import https from "node:https";
import type { Duplex } from "node:stream";
import Consul from "consul";
import { Http2Choice } from "./http2-choice.ts";
import { createHttp2Transport } from "./http2-request.ts";
import { Http2Sessions } from "./http2-sessions.ts";
import type { LibraryTransport } from "./http2-request.ts";
import { openTlsLine } from "./tls-line.ts";
import type { TlsLineOptions, TlsMaterial } from "./tls-line.ts";

/** How to reach one Consul agent. */
export interface ConnectionOptions {
  /** `http://HOST:PORT`, `https://HOST:PORT` or `unix:///PATH`. */
  readonly address: string;
  readonly tls?: () => Promise<TlsMaterial>;
  /** Name in the agent's certificate, where it is not that of the address. */
  readonly serverName?: string | undefined;
  /** At a time; Consul gives 200 to an address unless it was told otherwise. */
  readonly maxConnections: number;
  /** After so long, who spoke no HTTP/2 is asked for it again. Milliseconds. */
  readonly http2RetryMs?: number;
}

/** The package's client for one agent, and the connections below it. */
export interface ConsulConnection {
  readonly address: string;
  readonly library: Consul;
  /** How many questions may wait for a change at a time: one per connection, or many over HTTP/2. */
  capacity(): number;
  /** It refused a connection too many: fewer are made for a while. */
  throttled(): void;
  close(): void;
}

/** The package's hook before a request is executed: the way to give it another transport. */
interface ExtensibleLibrary {
  _ext(event: "onRequest", extension: (request: { transport: LibraryTransport }, next: () => void) => void): void;
}

const CONNECT_TIMEOUT_MS = 10_000;
const THROTTLE_MEMORY_MS = 600_000;
const HTTP2_RETRY_MS = 300_000;
const LEAST_CONNECTIONS = 6;

export function openConnection({ address, tls, serverName, maxConnections, http2RetryMs = HTTP2_RETRY_MS }: ConnectionOptions): ConsulConnection {
  const unixPath = address.startsWith("unix://") ? address.slice("unix://".length) : undefined;
  const baseUrl = new URL("/v1", unixPath === undefined ? address : "http://localhost");
  const limits = { keepAlive: true, maxSockets: maxConnections, scheduling: "lifo" } as const;
  if (baseUrl.protocol !== "https:") {
    const sockets = new http.Agent(limits);
    const options = { baseUrl, agent: sockets, ...(unixPath === undefined ? {} : { socketPath: unixPath }) };
    const limit = limitConnections(sockets, maxConnections);
    return { address, library: new Consul(options), capacity: () => limit.current(), throttled: () => limit.lower(), close: () => sockets.destroy() };
  }
  const line: TlsLineOptions = {
    host: baseUrl.hostname.replace(/^\[|\]$/g, ""),
    port: Number(baseUrl.port === "" ? 443 : baseUrl.port),
    serverName,
    material: tls ?? (() => Promise.resolve({})),
  };
  const sockets = new LineAgent(line, limits);
  const sessions = new Http2Sessions(line, maxConnections);
  const choice = new Http2Choice(http2RetryMs, (isSpoken) => keepIdle(sockets, !isSpoken));
  const transport = createHttp2Transport(sessions, choice);
  const limit = limitConnections(sockets, maxConnections);
  const options = { baseUrl, agent: sockets };
  const library = new Consul(options);
  (library as unknown as ExtensibleLibrary)._ext("onRequest", (request, next) => {
    request.transport = transport;
    next();
  });
  return {
    address,
    library,
    capacity: () => (choice.isSpoken ? sessions.capacity : limit.current()),
    throttled: () => limit.lower(),
    close() {
      sessions.close();
      sockets.destroy();
    },
  };
}

/**
 * How many connections an agent of Node may make. Consul refuses those above its
 * own limit, which it does not tell and others share: below what it refused
 * there is peace, and after a while more is tried again.
 */
function limitConnections(sockets: http.Agent, wanted: number): { current(): number; lower(): void } {
  let loweredAt = -THROTTLE_MEMORY_MS;
  return {
    current() {
      if (sockets.maxSockets < wanted && performance.now() - loweredAt >= THROTTLE_MEMORY_MS) sockets.maxSockets = wanted;
      return sockets.maxSockets;
    },
    lower() {
      const open = [...Object.values(sockets.sockets), ...Object.values(sockets.freeSockets)].reduce((sum, list) => sum + (list?.length ?? 0), 0);
      loweredAt = performance.now();
      sockets.maxSockets = Math.max(LEAST_CONNECTIONS, Math.min(sockets.maxSockets, open) - 1);
    },
  };
}

/** Connections that nobody needs any more would count at Consul all the same. */
function keepIdle(sockets: http.Agent, isKept: boolean): void {
  sockets.maxFreeSockets = isKept ? Number.POSITIVE_INFINITY : 0;
  if (isKept) return;
  for (const socket of Object.values(sockets.freeSockets).flat()) socket?.destroy();
}

/** HTTP/1.1 over the same kind of connection that HTTP/2 would have had. */
class LineAgent extends https.Agent {
  readonly #line: TlsLineOptions;

  constructor(line: TlsLineOptions, limits: https.AgentOptions) {
    super(limits);
    this.#line = line;
  }

  override createConnection(_options: unknown, opened?: (failure: Error | null, socket: Duplex) => void): undefined {
    openTlsLine(this.#line, ["http/1.1"], CONNECT_TIMEOUT_MS).then(
      ({ socket }) => opened?.(null, socket),
      (failure: unknown) => opened?.(failure as Error, undefined as unknown as Duplex),
    );
  }
}
