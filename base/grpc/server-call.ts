import type { IncomingHttpHeaders, ServerHttp2Stream } from "node:http2";
import { constants } from "node:http2";
import { messageOf } from "../coded-error.ts";
import type { Logger } from "../logger.ts";
import type { GrpcHandler, Peer } from "./call.ts";
import { createDeframer, type Deframer } from "./deframer.ts";
import { createInbox, type Inbox } from "./inbox.ts";
import { metadataOf } from "./metadata.ts";
import { createPacedWriter } from "./paced-writer.ts";
import { encodeGrpcMessage, GRPC_STATUS, GrpcError, type GrpcStatus } from "./status.ts";
import { parseGrpcTimeout } from "./timeout.ts";

export interface CallLimits {
  readonly maxMessageBytes: number;
  readonly maxQueuedBytes: number;
  /** The whole request of a unary call must be there by then. */
  readonly unaryRequestTimeoutMs: number;
  /** The first message of a stream must be there by then. */
  readonly firstMessageTimeoutMs: number;
}

/** A running call, for the server that must end it when it closes. */
export interface RunningCall {
  readonly kind: GrpcHandler["kind"];
  /** Ends the call with this status now. */
  abort(reason: GrpcError): void;
  /** What the caller has sent and the handler has not taken. */
  bufferedBytes(): number;
}

/** What a call runs in. */
export interface CallContext {
  readonly limits: CallLimits;
  readonly logger: Logger;
  readonly peer: Peer;
  /** Told that a method's `authorize` let the peer call, and that a call ended because the peer may not. */
  readonly onJudged: (isAuthorized: boolean) => void;
  /** Told that a whole request is there and is being answered; gives what to call when that is over. */
  readonly onRequest: () => (() => void) | undefined;
}

const CONTENT_TYPE = "application/grpc";

/**
 * Answers one HTTP/2 request as a gRPC call.
 *
 * @returns the call, or undefined where it was refused
 */
export function runCall(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  handlers: ReadonlyMap<string, GrpcHandler>,
  context: CallContext,
): RunningCall | undefined {
  const { logger } = context;
  const path = headers[":path"] ?? "";
  stream.on("error", (error) => logger.debug({ path, error: messageOf(error) }, "a stream failed"));
  if (headers[":method"] !== "POST" || !/^application\/grpc($|[+;])/u.test(headers["content-type"] ?? "")) {
    stream.respond({ ":status": headers[":method"] === "POST" ? 415 : 405 }, { endStream: true });
    stream.close(constants.NGHTTP2_NO_ERROR);
    return undefined;
  }
  const handler = handlers.get(path);
  if (handler === undefined) {
    refuse(stream, { code: "UNIMPLEMENTED", message: `there is no method ${path}` });
    return undefined;
  }
  const timeoutText = headers["grpc-timeout"];
  const timeoutMs = typeof timeoutText === "string" ? parseGrpcTimeout(timeoutText) : undefined;
  if (timeoutText !== undefined && timeoutMs === undefined) {
    refuse(stream, { code: "INTERNAL", message: "the grpc-timeout header cannot be read" });
    return undefined;
  }
  return startCall(stream, headers, { ...context, handler, path, timeoutMs });
}

interface CallStart extends CallContext {
  readonly handler: GrpcHandler;
  readonly path: string;
  readonly timeoutMs: number | undefined;
}

function startCall(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, start: CallStart): RunningCall {
  const { handler, path, timeoutMs, limits, logger, peer, onJudged, onRequest } = start;
  const controller = new AbortController();
  const writer = createPacedWriter(stream, limits.maxQueuedBytes);
  /** Absent until the call is authorized: nothing of it is read before. */
  let inbox: Inbox | undefined;
  let isOver = false;
  const timers: NodeJS.Timeout[] = [];
  const endWith = (status: GrpcStatus): void => {
    if (isOver) return;
    isOver = true;
    for (const timer of timers) clearTimeout(timer);
    if (!stream.destroyed) finish(stream, status);
  };
  const abort = (reason: GrpcError): void => {
    if (isOver) return;
    if (inbox === undefined) stream.resume();
    else inbox.fail(reason);
    writer.fail(reason);
    endWith({ code: reason.status, message: reason.message });
    controller.abort(reason);
  };
  const expireIn = (delayMs: number, message: string): NodeJS.Timeout => {
    const timer = setTimeout(() => abort(new GrpcError("DEADLINE_EXCEEDED", message)), Math.min(delayMs, 2 ** 31 - 1)).unref();
    timers.push(timer);
    return timer;
  };
  if (timeoutMs !== undefined) expireIn(timeoutMs, "the caller's deadline has passed");
  stream.once("close", () => abort(new GrpcError("CANCELLED", "the caller has gone")));

  const authorize = async (): Promise<void> => {
    if (handler.authorize === undefined) return;
    await handler.authorize(peer);
    onJudged(true);
  };
  const read = (onMessage: () => void): Inbox => {
    const encoding = headers["grpc-encoding"];
    const deframer = createDeframer({
      maxMessageBytes: handler.maxMessageBytes ?? limits.maxMessageBytes,
      encoding: typeof encoding === "string" ? encoding : undefined,
    });
    return createInbox(stream, observed(deframer, onMessage), (error) => abort(asGrpcError(error)));
  };

  const call = { path, metadata: metadataOf(headers), peer, signal: controller.signal };
  const run = async (): Promise<void> => {
    await authorize();
    if (isOver) return;
    if (handler.kind === "stream") {
      const patience = expireIn(limits.firstMessageTimeoutMs, "the first message did not arrive in time");
      inbox = read(() => clearTimeout(patience));
      sendHeaders(stream);
      await handler.handle({ ...call, messages: inbox, write: (message) => writer.write(message) });
    } else {
      const patience = expireIn(limits.unaryRequestTimeoutMs, "the request did not arrive in time");
      inbox = read(() => undefined);
      const request = await inbox.next();
      if (request === undefined) throw new GrpcError("INVALID_ARGUMENT", "the request has no message");
      if ((await inbox.next()) !== undefined) throw new GrpcError("INVALID_ARGUMENT", "the request has more than one message");
      clearTimeout(patience);
      const onAnswered = onRequest();
      let written: Promise<void>;
      try {
        const response = await handler.handle(request, call);
        if (isOver) return;
        sendHeaders(stream);
        written = writer.write(response);
      } finally {
        // The answer leaves with this turn. Whoever does not take it waits for nothing of ours.
        if (onAnswered !== undefined) setImmediate(onAnswered);
      }
      await written;
    }
    await writer.idle();
    endWith({ code: "OK", message: "" });
  };
  run().catch((error: unknown) => {
    if (!isOver && !(error instanceof GrpcError)) logger.error({ path, err: error }, "a handler failed");
    const reason = asGrpcError(error);
    if (reason.status === "UNAUTHENTICATED" || reason.status === "PERMISSION_DENIED") onJudged(false);
    abort(reason);
  });
  return { kind: handler.kind, abort, bufferedBytes: () => inbox?.bufferedBytes() ?? 0 };
}

/** Tells when a message is complete, or none will come any more. */
function observed(deframer: Deframer, onMessage: () => void): Deframer {
  return {
    push(chunk) {
      const messages = deframer.push(chunk);
      if (messages.length > 0) onMessage();
      return messages;
    },
    end() {
      onMessage();
      deframer.end();
    },
    bufferedBytes: () => deframer.bufferedBytes(),
  };
}

/** What a caller may know of a failure: a GrpcError as it is; anything else is our own bug and stays with us. */
function asGrpcError(error: unknown): GrpcError {
  return error instanceof GrpcError ? error : new GrpcError("INTERNAL", "internal error", error);
}

function sendHeaders(stream: ServerHttp2Stream): void {
  if (stream.headersSent || stream.destroyed) return;
  stream.respond({ ":status": 200, "content-type": CONTENT_TYPE }, { waitForTrailers: true });
}

function statusHeaders(status: GrpcStatus): Record<string, string | number> {
  return {
    "grpc-status": GRPC_STATUS[status.code],
    ...(status.message === "" ? {} : { "grpc-message": encodeGrpcMessage(status.message) }),
  };
}

/** Ends a call with a status before anything of it is read. */
export function refuse(stream: ServerHttp2Stream, status: GrpcStatus): void {
  if (stream.destroyed) return;
  stream.respond(
    { ":status": 200, "content-type": CONTENT_TYPE, "grpc-accept-encoding": "identity", ...statusHeaders(status) },
    { endStream: true },
  );
  stream.close(constants.NGHTTP2_NO_ERROR);
}

function finish(stream: ServerHttp2Stream, status: GrpcStatus): void {
  if (!stream.headersSent) {
    refuse(stream, status);
    return;
  }
  stream.once("wantTrailers", () => {
    stream.sendTrailers(statusHeaders(status));
    // A client that still sends is told to stop; one that has ended sees a plain end. One turn later, because a
    // reset in the same one overtakes the trailers.
    setImmediate(() => {
      if (!stream.destroyed && !stream.readableEnded) stream.close(constants.NGHTTP2_NO_ERROR);
    });
  });
  stream.end();
}
