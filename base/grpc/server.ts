import { chmod, rm } from "node:fs/promises";
import {
  createSecureServer,
  createServer,
  type Http2SecureServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
  type ServerOptions,
} from "node:http2";
import { connect, type Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { CodedError, messageOf } from "../coded-error.ts";
import type { Logger } from "../logger.ts";
import { admitConnections } from "./admission.ts";
import type { GrpcHandler, Peer, UnverifiedPeer } from "./call.ts";
import { type CallLimits, refuse, type RunningCall, runCall } from "./server-call.ts";
import { giveHandshakesTurns } from "./handshake-turns.ts";
import { guardSession } from "./session-guard.ts";
import { GrpcError, type GrpcStatus } from "./status.ts";
import { secureContextOptions, type TlsIdentity } from "./tls.ts";

/** Where a server listens: a TCP address (port 0 for any), or a unix socket with its permission bits (0600 unless told). */
export type GrpcListen =
  | { readonly host: string; readonly port: number }
  | { readonly path: string; readonly mode?: number };

/** A server's side of mutual TLS. */
export interface ServerTls extends TlsIdentity {
  /** PEM; what client certificates are verified against. */
  readonly clientRoots: readonly string[];
  /**
   * `optional` lets a client in that shows no certificate, with little room (the limits of anonymous connections). One
   * that shows a bad one is refused in any case: here each of its calls ends with UNAUTHENTICATED and the reason, with
   * `required` the handshake fails.
   */
  readonly clientCertificate: "required" | "optional" | "none";
}

export interface ServerLimits extends CallLimits {
  /** Per connection. */
  readonly maxConcurrentStreams: number;
  readonly maxConnections: number;
  readonly keepaliveMs: number;
  readonly idleTimeoutMs: number;
  readonly firstCallTimeoutMs: number;
  readonly tlsHandshakeTimeoutMs: number;
  /** Connections without a client certificate that verifies, where one is optional: where there are more, the oldest is cut that awaits no answer. */
  readonly maxAnonymousConnections: number;
  /** Calls at a time on such a connection. */
  readonly maxAnonymousCalls: number;
  /** Such a connection ends when it is this old, whatever it does. */
  readonly anonymousLifeMs: number;
}

export const DEFAULT_SERVER_LIMITS: ServerLimits = {
  maxMessageBytes: 4 * 1024 * 1024,
  maxQueuedBytes: 4 * 1024 * 1024,
  unaryRequestTimeoutMs: 20_000,
  firstMessageTimeoutMs: 20_000,
  maxConcurrentStreams: 32,
  maxConnections: 20_000,
  keepaliveMs: 15_000,
  idleTimeoutMs: 300_000,
  firstCallTimeoutMs: 20_000,
  tlsHandshakeTimeoutMs: 10_000,
  maxAnonymousConnections: 256,
  maxAnonymousCalls: 4,
  anonymousLifeMs: 30_000,
};

const COMPLAIN_EVERY_MS = 60_000;
/** Connections that the kernel keeps until they are taken: a fleet of some thousand comes at once. (It keeps no more than net.core.somaxconn.) */
const BACKLOG = 4_096;

export interface GrpcServerOptions {
  readonly listen: GrpcListen;
  /** Absent: cleartext HTTP/2 with prior knowledge, for a unix socket or loopback. */
  readonly tls?: ServerTls;
  /** Keyed by path: `/package.Service/Method`. */
  readonly handlers: Readonly<Record<string, GrpcHandler>>;
  readonly limits?: Partial<ServerLimits>;
  /** Told of each connection whose client certificate is optional and does not verify, once it calls. */
  readonly onUnverifiedPeer?: (peer: UnverifiedPeer) => void;
  readonly logger: Logger;
}

export interface ServerUsage {
  readonly connections: number;
  readonly calls: number;
  /** What was read of calls' messages and is not handled yet. */
  readonly bufferedBytes: number;
}

/** A listening server. Whoever started it closes it. */
export interface BoundGrpcServer {
  readonly address: { readonly host: string; readonly port: number } | { readonly path: string };
  /** New connections use this from now on; the living ones go on. */
  setSecureContext(tls: ServerTls): void;
  /** What callers take of this server now. */
  usage(): ServerUsage;
  /**
   * Stops listening and sends GOAWAY. Streams end with UNAVAILABLE at once,
   * unary calls have `graceMs` (2,000 unless told); then connections are cut, also where the handshake is not over.
   */
  close(graceMs?: number): Promise<void>;
}

/** Serves gRPC over HTTP/2. @throws CodedError MESH_LISTEN_FAILED */
export async function serveGrpc(options: GrpcServerOptions): Promise<BoundGrpcServer> {
  const { listen, tls, logger } = options;
  const limits: ServerLimits = { ...DEFAULT_SERVER_LIMITS, ...options.limits };
  const handlers = new Map(Object.entries(options.handlers));
  const calls = new Set<RunningCall>();
  const sessions = new Set<ServerHttp2Session>();
  const sockets = new Set<Socket>();
  let isClosing = false;

  const server = tls === undefined ? createServer(http2Options(limits)) : createSecureServer(secureOptions(tls, limits));
  if (tls !== undefined) giveHandshakesTurns(server, { patienceMs: limits.tlsHandshakeTimeoutMs });
  let complainedAtMs = Number.NEGATIVE_INFINITY;
  const onFull = (): void => {
    if (performance.now() - complainedAtMs < COMPLAIN_EVERY_MS) return;
    complainedAtMs = performance.now();
    logger.warn({ connections: sessions.size }, "too many connections: the oldest of callers that are not known are cut");
  };
  const admission = tls?.clientCertificate === "optional" ? admitConnections(server, { ...limits, onFull }) : undefined;
  // Where everybody is known, or nobody, there is no better choice than to refuse the newcomer.
  if (admission === undefined) server.maxConnections = limits.maxConnections;
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  server.on("session", (session: ServerHttp2Session) => {
    const place = admission?.placeOf(session.socket);
    if (isClosing || (admission !== undefined && place === undefined)) {
      session.destroy();
      return;
    }
    const peer = identify(session);
    const isAnonymous = place !== undefined && ("failure" in peer || peer.peerCertificate() === undefined);
    if (isAnonymous) place.setAnonymous();
    const life = isAnonymous ? { lifeMs: limits.anonymousLifeMs } : {};
    sessions.add(session);
    session.once("close", () => sessions.delete(session));
    session.on("error", (error) => logger.debug({ peer: peer.remoteAddress, error: messageOf(error) }, "a connection failed"));
    if ("failure" in peer) {
      guardSession(session, { ...limits, ...life });
      refuseCalls(session, peer, options);
      return;
    }
    const onJudged = (isKnown: boolean): void => place?.judge(isKnown);
    const onRequest = (): (() => void) | undefined => place?.answer();
    const guard = guardSession(session, { ...limits, ...certificateLife(peer), ...life });
    const answer = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders): RunningCall | undefined => {
      if (!isAnonymous || guard.calls() <= limits.maxAnonymousCalls) return runCall(stream, headers, handlers, { limits, logger, peer, onJudged, onRequest });
      refuseUnseen(stream, { code: "RESOURCE_EXHAUSTED", message: "too many calls at a time without a client certificate" }, logger);
      return undefined;
    };
    session.on("stream", (stream: ServerHttp2Stream, headers) => {
      guard.callStarted();
      const call = answer(stream, headers);
      if (call !== undefined) calls.add(call);
      stream.once("close", () => {
        guard.callEnded();
        if (call !== undefined) calls.delete(call);
      });
    });
  });
  server.on("sessionError", (error) => logger.debug({ error: messageOf(error) }, "a connection failed"));
  server.on("tlsClientError", (error: Error) => logger.debug({ error: messageOf(error) }, "a TLS handshake failed"));

  await bind(server, listen);
  let closing: Promise<void> | undefined;
  return {
    address: addressOf(server, listen),
    setSecureContext(next) {
      if ("setSecureContext" in server) server.setSecureContext(contextOf(next));
    },
    usage: () => ({
      connections: admission?.count() ?? sessions.size,
      calls: calls.size,
      bufferedBytes: [...calls].reduce((sum, call) => sum + call.bufferedBytes(), 0),
    }),
    close(graceMs = 2000) {
      isClosing = true;
      closing ??= shutDown(server, { sessions, sockets, calls, graceMs });
      return closing;
    },
  };
}

function http2Options(limits: ServerLimits): ServerOptions {
  return {
    settings: { maxConcurrentStreams: limits.maxConcurrentStreams, enablePush: false, maxHeaderListSize: 16 * 1024 },
    maxHeaderListPairs: 64,
    maxSettings: 16,
    maxOutstandingPings: 4,
    maxSessionInvalidFrames: 100,
    maxSessionRejectedStreams: 50,
    // Rapid reset (CVE-2023-44487): a client may cancel this many calls at once, and this many a second.
    streamResetBurst: 200,
    streamResetRate: 20,
    unknownProtocolTimeout: limits.tlsHandshakeTimeoutMs,
  };
}

function contextOf(tls: ServerTls): ReturnType<typeof secureContextOptions> {
  if (tls.clientCertificate !== "none" && tls.clientRoots.length === 0) {
    throw new TypeError("client certificates are asked for but there are no roots to verify them");
  }
  return secureContextOptions(tls, tls.clientRoots);
}

function secureOptions(tls: ServerTls, limits: ServerLimits): Parameters<typeof createSecureServer>[0] & object {
  return {
    ...http2Options(limits),
    ...contextOf(tls),
    allowHTTP1: false,
    ALPNProtocols: ["h2"],
    handshakeTimeout: limits.tlsHandshakeTimeoutMs,
    requestCert: tls.clientCertificate !== "none",
    rejectUnauthorized: tls.clientCertificate === "required",
  };
}

/** Who is there. */
function identify(session: ServerHttp2Session): Peer | UnverifiedPeer {
  // A proxy of the socket, so that "in" and instanceof say nothing about it.
  const socket = session.socket as TLSSocket;
  const { remoteAddress, remotePort } = socket;
  const address = remoteAddress === undefined ? undefined : `${remoteAddress}:${remotePort}`;
  const ping = (): Promise<boolean> => pinged(session);
  if (session.encrypted !== true) return { remoteAddress: address, peerCertificate: () => undefined, ping };
  const { authorized, authorizationError } = socket;
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined || authorized) return { remoteAddress: address, peerCertificate: () => certificate, ping };
  return { remoteAddress: address, certificate, failure: String(authorizationError) };
}

function pinged(session: ServerHttp2Session): Promise<boolean> {
  if (session.destroyed || session.closed) return Promise.resolve(false);
  return new Promise((resolve) => void session.ping((error) => resolve(error === null)));
}

/** Whoever shows a bad certificate hears why, and is asked to go. */
function refuseCalls(session: ServerHttp2Session, peer: UnverifiedPeer, { onUnverifiedPeer, logger }: GrpcServerOptions): void {
  session.once("stream", () => onUnverifiedPeer?.(peer));
  session.on("stream", (stream: ServerHttp2Stream) => {
    refuseUnseen(stream, { code: "UNAUTHENTICATED", message: `the client certificate does not verify: ${peer.failure}` }, logger);
    session.close();
  });
}

/** Refuses a request whatever it asks for. */
function refuseUnseen(stream: ServerHttp2Stream, status: GrpcStatus, logger: Logger): void {
  stream.on("error", (error) => logger.debug({ error: messageOf(error) }, "a stream failed"));
  refuse(stream, status);
}

function certificateLife(peer: Peer): { readonly expiresAtMs?: number } {
  const certificate = peer.peerCertificate();
  return certificate === undefined ? {} : { expiresAtMs: certificate.validToDate.getTime() };
}

async function bind(server: Http2Server | Http2SecureServer, listen: GrpcListen): Promise<void> {
  try {
    if ("path" in listen) await removeStaleSocket(listen.path);
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen({ ...listen, backlog: BACKLOG }, () => {
        server.off("error", reject);
        resolve();
      });
    });
    if ("path" in listen) await chmod(listen.path, listen.mode ?? 0o600);
  } catch (cause) {
    server.close();
    const where = "path" in listen ? listen.path : `${listen.host}:${listen.port}`;
    throw new CodedError("MESH_LISTEN_FAILED", `cannot listen on ${where}: ${messageOf(cause)}`, {
      cause,
      facts: { where },
      hint: "another process may hold the address, or this one may lack the permission",
    });
  }
}

/** Removes a socket file that nobody listens on any more: what a killed process leaves behind. */
async function removeStaleSocket(path: string): Promise<void> {
  const code = await new Promise<string | undefined>((resolve) => {
    const probe = connect({ path });
    probe.once("connect", () => {
      probe.destroy();
      resolve(undefined);
    });
    probe.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? "UNKNOWN"));
  });
  if (code === "ECONNREFUSED") await rm(path, { force: true });
}

function addressOf(server: Http2Server | Http2SecureServer, listen: GrpcListen): BoundGrpcServer["address"] {
  if ("path" in listen) return { path: listen.path };
  const bound = server.address();
  return { host: listen.host, port: bound !== null && typeof bound === "object" ? bound.port : listen.port };
}

async function shutDown(
  server: Http2Server | Http2SecureServer,
  state: { readonly sessions: ReadonlySet<ServerHttp2Session>; readonly sockets: ReadonlySet<Socket>; readonly calls: Set<RunningCall>; readonly graceMs: number },
): Promise<void> {
  const closed = new Promise<void>((resolve) => {
    server.close(() => resolve());
  });
  for (const call of state.calls) {
    if (call.kind === "stream") call.abort(new GrpcError("UNAVAILABLE", "the server is closing"));
  }
  for (const session of state.sessions) session.close();
  const force = setTimeout(() => {
    for (const session of state.sessions) session.destroy();
    // A stranger who does not finish its handshake would keep us for as long as that may take.
    for (const socket of state.sockets) socket.destroy();
  }, state.graceMs);
  await closed;
  clearTimeout(force);
}
