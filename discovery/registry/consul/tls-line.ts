import { once } from "node:events";
import { checkServerIdentity, connect } from "node:tls";
import type { TLSSocket } from "node:tls";
import type { SecretBytes } from "../../../base/secret-bytes.ts";

/** PEM. */
export interface TlsMaterial {
  /** Roots that the agent's certificate is checked against; the system's where absent. */
  readonly ca?: string;
  readonly certificate?: string;
  readonly key?: SecretBytes;
}

export interface TlsLineOptions {
  readonly host: string;
  readonly port: number;
  /** Name in the agent's certificate, where it is not that of the address. */
  readonly serverName?: string | undefined;
  /** Asked for every connection, so that a renewed certificate counts without a restart. */
  readonly material: () => Promise<TlsMaterial>;
}

/** What is spoken on a connection: HTTP/2 carries many questions, HTTP/1.1 one. */
export type HttpVersion = "h2" | "http/1.1";

/** Connects and agrees on the first of `versions` that the other side speaks. Rejects when nobody answers in time. */
export async function openTlsLine(options: TlsLineOptions, versions: readonly HttpVersion[], timeoutMs: number): Promise<{ readonly socket: TLSSocket; readonly version: HttpVersion }> {
  const { ca, certificate, key } = await options.material();
  const socket = connect({
    host: options.host,
    port: options.port,
    ALPNProtocols: [...versions],
    // A host name is asked for by its name; an address has none.
    servername: options.serverName ?? (/^[\d.]+$|:/.test(options.host) ? "" : options.host),
    ...(options.serverName === undefined ? {} : { checkServerIdentity: (_host, peer) => checkServerIdentity(options.serverName ?? "", peer) }),
    ...(ca === undefined ? {} : { ca }),
    ...(certificate === undefined ? {} : { cert: certificate }),
    ...(key === undefined ? {} : { key: key.revealText() }),
  });
  try {
    await once(socket, "secureConnect", { signal: AbortSignal.timeout(timeoutMs) });
  } catch (failure) {
    socket.destroy();
    throw failure;
  }
  return { socket, version: socket.alpnProtocol === "h2" ? "h2" : "http/1.1" };
}
