import type { ClientHttp2Session, ClientHttp2Stream, IncomingHttpHeaders } from "node:http2";
import { constants } from "node:http2";
import { messageOf } from "../coded-error.ts";
import { type ClientTls, type GrpcTarget, openConnection } from "./client-connection.ts";
import { createDeframer } from "./deframer.ts";
import { createInbox, type Inbox } from "./inbox.ts";
import { checkMetadata, type Metadata } from "./metadata.ts";
import { createPacedWriter, type MessageBytes } from "./paced-writer.ts";
import { decodeGrpcMessage, GrpcError, grpcStatusName, grpcStatusOfHttp } from "./status.ts";
import { formatGrpcTimeout } from "./timeout.ts";

export interface GrpcClientOptions {
  readonly target: GrpcTarget;
  /** Asked anew for every connection. Absent: cleartext HTTP/2, for a unix socket or loopback. */
  readonly tls?: () => ClientTls;
  readonly connectTimeoutMs?: number;
  readonly keepaliveMs?: number;
  /** 16 MiB unless told. */
  readonly maxMessageBytes?: number;
  readonly maxQueuedBytes?: number;
}

export interface CallOptions {
  /** The call ends with DEADLINE_EXCEEDED after this; the server is told. */
  readonly deadlineMs?: number;
  readonly metadata?: Metadata;
  /** Cancels the call. */
  readonly signal?: AbortSignal;
}

/** A call with messages both ways, seen from the client. */
export interface ClientStream {
  /** What the server sends: ends after status OK, throws a GrpcError with any other. */
  readonly messages: Inbox;
  /** Resolves when the connection has taken the last byte. Await it: the queue is bounded. */
  readonly write: (message: MessageBytes) => Promise<void>;
  /** Half-close: nothing more to say. */
  readonly end: () => void;
  /** Gives the call up. */
  readonly cancel: () => void;
}

/**
 * A client of one server. It connects when the first call needs it and again
 * when the connection is gone; calls on a lost connection fail with
 * UNAVAILABLE and are never repeated by themselves.
 */
export interface GrpcClient {
  /** @throws GrpcError; CodedError MESH_CONNECT_FAILED or MESH_SERVER_NOT_TRUSTED where there is no connection */
  unary(path: string, request: MessageBytes, options?: CallOptions): Promise<Uint8Array>;
  stream(path: string, options?: CallOptions): Promise<ClientStream>;
  /** The next call makes a new connection (with the certificate of that moment); running calls go on. */
  reconnect(): void;
  /** Cancels every call and closes the connection. */
  close(): Promise<void>;
}

export function connectGrpc(options: GrpcClientOptions): GrpcClient {
  const { connectTimeoutMs = 10_000, keepaliveMs = 15_000, maxMessageBytes = 16 << 20, maxQueuedBytes = 4 << 20 } = options;
  const connections = new Set<Connection>();
  let current: Promise<Connection> | undefined;
  let isClosed = false;

  const open = async (): Promise<Connection> => {
    const session = await openConnection({ ...options, connectTimeoutMs, keepaliveMs });
    if (isClosed) {
      session.destroy();
      throw new GrpcError("CANCELLED", "the client is closed");
    }
    const connection: Connection = { session, calls: 0, isRetired: false };
    connections.add(connection);
    session.once("close", () => connections.delete(connection));
    if (session.destroyed) connections.delete(connection);
    return connection;
  };
  const usable = async (): Promise<Connection> => {
    if (isClosed) throw new GrpcError("CANCELLED", "the client is closed");
    current ??= open();
    const attempt = current;
    try {
      const opened = await attempt;
      if (!opened.session.closed && !opened.session.destroyed && !opened.isRetired) return opened;
    } catch (error) {
      if (current === attempt) current = undefined;
      throw error;
    }
    if (current === attempt) current = undefined;
    return usable();
  };
  const start = async (path: string, call: CallOptions): Promise<ClientStream> => {
    return startCall(await usable(), path, call, { maxMessageBytes, maxQueuedBytes });
  };

  return {
    stream: (path, call = {}) => start(path, call),
    async unary(path, request, call = {}) {
      const stream = await start(path, call);
      try {
        // A refusal may overtake the request: the status counts, not the lost write.
        const sent = stream.write(request).then(stream.end, () => undefined);
        const response = await stream.messages.next();
        if (response === undefined) throw new GrpcError("INTERNAL", "the server ended the call without a message");
        if ((await stream.messages.next()) !== undefined) throw new GrpcError("INTERNAL", "the server sent more than one message");
        await sent;
        return response;
      } finally {
        stream.cancel();
      }
    },
    reconnect() {
      current = undefined;
      for (const connection of connections) {
        connection.isRetired = true;
        closeIfDone(connection);
      }
    },
    async close() {
      isClosed = true;
      await current?.catch(() => undefined);
      await Promise.all(
        [...connections].map(
          ({ session }) =>
            new Promise<void>((resolve) => {
              // A server that refuses us may have ended it before we listened.
              if (session.destroyed) resolve();
              session.once("close", resolve);
              session.destroy();
            }),
        ),
      );
    },
  };
}

interface Connection {
  readonly session: ClientHttp2Session;
  calls: number;
  /** Takes no new calls, and closes after its last. (An early GOAWAY would make the server cut the others.) */
  isRetired: boolean;
}

function closeIfDone(connection: Connection): void {
  if (connection.isRetired && connection.calls === 0) connection.session.close();
}

interface ClientLimits {
  readonly maxMessageBytes: number;
  readonly maxQueuedBytes: number;
}

function startCall(connection: Connection, path: string, call: CallOptions, limits: ClientLimits): ClientStream {
  const { deadlineMs, metadata = {}, signal } = call;
  signal?.throwIfAborted();
  const stream = connection.session.request({
    ...checkMetadata(metadata),
    ":method": "POST",
    ":path": path,
    "content-type": "application/grpc",
    te: "trailers",
    ...(deadlineMs === undefined ? {} : { "grpc-timeout": formatGrpcTimeout(deadlineMs) }),
  });
  connection.calls += 1;
  stream.once("close", () => {
    connection.calls -= 1;
    closeIfDone(connection);
  });
  let isOver = false;
  const status = receiveStatus(stream);
  const deframer = createDeframer({ maxMessageBytes: limits.maxMessageBytes });
  const release = (): void => {
    isOver = true;
    clearTimeout(timer);
    signal?.removeEventListener("abort", onAbort);
  };
  const cancelWith = (reason: GrpcError): void => {
    if (isOver) return;
    release();
    inbox.fail(reason);
    writer.fail(reason);
    if (!stream.destroyed) stream.close(constants.NGHTTP2_CANCEL);
  };
  const onAbort = (): void => cancelWith(new GrpcError("CANCELLED", "the call was cancelled", signal?.reason));
  const inbox = createInbox(stream, {
    push: (chunk) => {
      if (status.refusal !== undefined) return [];
      return deframer.push(chunk);
    },
    end() {
      // The end of the body comes after the trailers: the status is known here.
      const refusal = status.final();
      if (refusal !== undefined) throw refusal;
      deframer.end();
    },
    bufferedBytes: () => deframer.bufferedBytes(),
  }, (error) => cancelWith(error instanceof GrpcError ? error : new GrpcError("INTERNAL", messageOf(error), error)));
  const writer = createPacedWriter(stream, limits.maxQueuedBytes);
  const timer =
    deadlineMs === undefined
      ? undefined
      : setTimeout(() => cancelWith(new GrpcError("DEADLINE_EXCEEDED", `no answer within ${deadlineMs} ms`)), Math.min(deadlineMs, 2 ** 31 - 1)).unref();
  signal?.addEventListener("abort", onAbort, { once: true });
  let lost: Error | undefined;
  stream.on("error", (error) => {
    lost = error;
  });
  stream.once("close", () => {
    if (inbox.hasEnded()) {
      // The call ran to its end: what waits in the inbox is still good.
      release();
      writer.fail(status.final() ?? new GrpcError("CANCELLED", "the call is over"));
      return;
    }
    cancelWith(status.final() ?? new GrpcError("UNAVAILABLE", lost === undefined ? "the connection was lost" : messageOf(lost), lost));
  });

  return {
    messages: inbox,
    write: (message) => writer.write(message),
    end: () => void writer.idle().then(() => stream.end()),
    cancel: () => cancelWith(new GrpcError("CANCELLED", "the call was cancelled")),
  };
}

interface StatusReader {
  /** Set where the answer is no gRPC. */
  readonly refusal: GrpcError | undefined;
  /** What ends the call; undefined for OK. */
  final(): GrpcError | undefined;
}

function receiveStatus(stream: ClientHttp2Stream): StatusReader {
  let refusal: GrpcError | undefined;
  let ending: IncomingHttpHeaders | undefined;
  stream.on("response", (headers) => {
    const httpStatus = headers[":status"] ?? 0;
    if (httpStatus !== 200) refusal = new GrpcError(grpcStatusOfHttp(httpStatus), `the server answered with HTTP status ${httpStatus}`);
    else if (headers["grpc-status"] !== undefined) ending = headers;
    else if (!String(headers["content-type"]).startsWith("application/grpc")) {
      refusal = new GrpcError("UNKNOWN", `the server answered with content-type ${headers["content-type"]}`);
    }
  });
  stream.on("trailers", (headers) => {
    ending = headers;
  });
  return {
    get refusal() {
      return refusal;
    },
    final() {
      if (refusal !== undefined) return refusal;
      const code = ending?.["grpc-status"];
      if (code === undefined) return new GrpcError("UNAVAILABLE", "the call ended without a status");
      if (String(code) === "0") return undefined;
      const text = ending?.["grpc-message"];
      return new GrpcError(grpcStatusName(Number(code)), typeof text === "string" ? decodeGrpcMessage(text) : "");
    },
  };
}
