import type { X509Certificate } from "node:crypto";
import { type ClientHttp2Session, connect as connectHttp2 } from "node:http2";
import { connect as connectSocket, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { CodedError, messageOf } from "../coded-error.ts";
import { guardSession } from "./session-guard.ts";
import { secureContextOptions, type TlsIdentity } from "./tls.ts";

/** Where a client connects to. */
export type GrpcTarget = { readonly host: string; readonly port: number } | { readonly path: string };

/** What one TLS connection of a client is made with. */
export interface ClientTls {
  /** PEM; the server's chain must end in one of them. */
  readonly roots: readonly string[];
  /** What the client shows; absent where it has no certificate yet. */
  readonly identity?: TlsIdentity;
  /**
   * Judges the server's certificate, whose chain has been verified: gives the
   * reason to refuse it, or undefined. Takes the place of the host name check
   * (SPIFFE identities are URIs) and runs before a byte of HTTP/2 is sent.
   */
  readonly checkServer: (certificate: X509Certificate) => string | undefined;
}

export interface ConnectionOptions {
  readonly target: GrpcTarget;
  /** Asked anew for every connection, so that renewed certificates and roots need no restart. */
  readonly tls?: () => ClientTls;
  readonly connectTimeoutMs: number;
  readonly keepaliveMs: number;
}

/**
 * Opens one HTTP/2 connection.
 *
 * @throws CodedError MESH_CONNECT_FAILED where there is no connection,
 * MESH_SERVER_NOT_TRUSTED where the server is not who it should be
 */
export async function openConnection(options: ConnectionOptions): Promise<ClientHttp2Session> {
  const { target, tls, connectTimeoutMs, keepaliveMs } = options;
  const where = "path" in target ? target.path : `${target.host}:${target.port}`;
  const socket = tls === undefined ? await openPlain(target, where, connectTimeoutMs) : await openTls(target, where, tls(), connectTimeoutMs);
  const session = connectHttp2("path" in target ? "http://localhost" : `${tls === undefined ? "http" : "https"}://${hostText(target.host)}:${target.port}`, {
    createConnection: () => socket,
    settings: { enablePush: false },
    maxHeaderListPairs: 64,
  });
  // An error always comes with a close, and each call tells its own owner.
  session.on("error", () => undefined);
  guardSession(session, { keepaliveMs });
  return session;
}

function hostText(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}

function openPlain(target: GrpcTarget, where: string, timeoutMs: number): Promise<Socket> {
  const socket = connectSocket({ ...target, noDelay: true });
  return settled(socket, "connect", where, timeoutMs);
}

async function openTls(target: GrpcTarget, where: string, tls: ClientTls, timeoutMs: number): Promise<Socket> {
  if (tls.roots.length === 0) throw notTrusted(where, "there are no roots to verify it against");
  const socket = connectTls({
    ...target,
    ...secureContextOptions(tls.identity, tls.roots),
    ALPNProtocols: ["h2"],
    rejectUnauthorized: true,
    // The chain is verified by TLS itself; the name is judged below, in one place.
    checkServerIdentity: () => undefined,
  });
  await settled(socket, "secureConnect", where, timeoutMs);
  const certificate = socket.getPeerX509Certificate();
  const reason =
    !socket.authorized || certificate === undefined
      ? "its certificate chain does not verify"
      : socket.alpnProtocol !== "h2"
        ? "it does not speak HTTP/2"
        : tls.checkServer(certificate);
  if (reason === undefined) return socket;
  socket.destroy();
  throw notTrusted(where, reason);
}

function notTrusted(where: string, reason: string, cause?: unknown): CodedError {
  return new CodedError("MESH_SERVER_NOT_TRUSTED", `the server at ${where} is not trusted: ${reason}`, {
    facts: { where, reason },
    ...(cause === undefined ? {} : { cause }),
    hint: "the address may be another service's, or the trust roots of this side are not the server's",
  });
}

function settled<S extends Socket>(socket: S, event: string, where: string, timeoutMs: number): Promise<S> {
  return new Promise((resolve, reject) => {
    const fail = (error: Error): void => {
      clearTimeout(timer);
      socket.destroy();
      reject(asConnectError(error, where));
    };
    const timer = setTimeout(() => fail(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
    socket.once("error", fail);
    socket.once("close", () => fail(new Error("the connection was closed")));
    socket.once(event, () => {
      clearTimeout(timer);
      socket.removeAllListeners("close");
      socket.off("error", fail);
      resolve(socket);
    });
  });
}

const OF_THE_CHAIN = /^(CERT_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|INVALID_|CRL_|ERR_TLS_CERT)/u;

function asConnectError(error: Error, where: string): CodedError {
  const { code } = error as NodeJS.ErrnoException;
  if (code !== undefined && OF_THE_CHAIN.test(code)) return notTrusted(where, messageOf(error), error);
  return new CodedError("MESH_CONNECT_FAILED", `cannot connect to ${where}: ${messageOf(error)}`, {
    cause: error,
    facts: { where },
    hint: "the server may be down, or a firewall may drop the connection",
  });
}
