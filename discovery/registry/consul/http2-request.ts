import { EventEmitter } from "node:events";
import https from "node:https";
import { constants } from "node:http2";
import type { ClientHttp2Stream, IncomingHttpHeaders } from "node:http2";
import type { Http2Choice } from "./http2-choice.ts";
import { Http2Refused } from "./http2-sessions.ts";
import type { Http2Sessions } from "./http2-sessions.ts";

/** What of Node's client request the `consul` package uses; it makes one of these for every question. */
export interface LibraryRequest extends EventEmitter {
  getHeader(name: string): unknown;
  setHeader(name: string, value: string): void;
  removeHeader(name: string): void;
  setTimeout(timeoutMs: number): unknown;
  abort(): void;
  end(body?: string | Buffer): unknown;
}

/** What the package asks Node's `http` for. */
export interface LibraryTransport {
  request(options: https.RequestOptions): LibraryRequest;
}

/**
 * Carries the package's requests over HTTP/2 where the server speaks it, and
 * over HTTP/1.1 where it does not: whoever terminates TLS before Consul may not.
 */
export function createHttp2Transport(sessions: Http2Sessions, choice: Http2Choice): LibraryTransport {
  return { request: (options) => (choice.next() ? new Http2Request(sessions, options, choice) : https.request(options)) };
}

class Http2Request extends EventEmitter implements LibraryRequest {
  readonly path: string;
  readonly #sessions: Http2Sessions;
  readonly #options: https.RequestOptions;
  readonly #choice: Http2Choice;
  readonly #headers = new Map<string, string>();
  #stream: ClientHttp2Stream | undefined;
  #plain: LibraryRequest | undefined;
  #isAborted = false;

  constructor(sessions: Http2Sessions, options: https.RequestOptions, choice: Http2Choice) {
    super();
    this.#sessions = sessions;
    this.#options = options;
    this.#choice = choice;
    this.path = options.path ?? "/";
    for (const [name, value] of Object.entries(options.headers ?? {})) this.setHeader(name, String(value));
  }

  getHeader(name: string): string | undefined {
    return this.#headers.get(name.toLowerCase());
  }

  setHeader(name: string, value: string): void {
    this.#headers.set(name.toLowerCase(), value);
  }

  removeHeader(name: string): void {
    this.#headers.delete(name.toLowerCase());
  }

  /** The package keeps the time itself, and aborts. */
  setTimeout(): void {}

  abort(): void {
    this.#isAborted = true;
    this.#stream?.close(constants.NGHTTP2_CANCEL);
    this.#plain?.abort();
  }

  end(body?: string | Buffer): void {
    this.#send(body).catch((failure: unknown) => {
      if (failure instanceof Http2Refused) this.#sendPlain(body);
      else this.emit("error", failure);
    });
  }

  async #send(body: string | Buffer | undefined): Promise<void> {
    const { host, hostname, port, method } = this.#options;
    const stream = await this.#sessions.request({
      ":method": method ?? "GET",
      ":path": this.path,
      ":authority": `${hostname ?? host ?? ""}:${port ?? 443}`,
      ...Object.fromEntries(this.#headers),
    });
    this.#stream = stream;
    this.#choice.agreed();
    stream.on("error", (failure) => this.emit("error", failure));
    stream.once("response", (headers) => this.emit("response", Object.assign(stream, { statusCode: Number(headers[":status"]), headers: plainHeaders(headers) })));
    stream.once("close", () => {
      if (!stream.readableEnded) this.emit("error", new Error("the connection ended before the answer did"));
    });
    if (this.#isAborted) stream.close(constants.NGHTTP2_CANCEL);
    else stream.end(body);
  }

  #sendPlain(body: string | Buffer | undefined): void {
    this.#choice.refused();
    const request = https.request(this.#options);
    this.#plain = request;
    for (const event of ["response", "error", "timeout"]) request.on(event, (value: unknown) => this.emit(event, value));
    if (this.#isAborted) request.abort();
    else request.end(body);
  }
}

function plainHeaders(headers: IncomingHttpHeaders): IncomingHttpHeaders {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !name.startsWith(":")));
}
