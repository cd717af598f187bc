import { type DescMessage, fromBinary, type Message, type MessageShape } from "@bufbuild/protobuf";
import { type Clock, systemClock } from "../base/clock.ts";
import { messageOf } from "../base/coded-error.ts";
import type { Peer, ServerStream, StreamHandler } from "../base/grpc/call.ts";
import type { Metadata } from "../base/grpc/metadata.ts";
import { GrpcError } from "../base/grpc/status.ts";
import type { Node } from "../proto/gen/envoy/config/core/v3/base_pb.js";
import { type ResourceView, unionOf } from "./resource-set.ts";
import type { Ack, Nack, SubscriptionStatus } from "./subscription.ts";
import { createTurns, type Turns } from "./turns.ts";

/** What a stream is given once it is known who is there. */
export interface OpenedStream {
  /** The stream sees their union; where two have one name, the first wins. */
  readonly sets: readonly ResourceView[];
  readonly onAck?: (ack: Ack) => void;
  readonly onNack?: (nack: Nack) => void;
  /** Called once when the stream has ended, however it did. */
  readonly onClose?: () => void;
}

/**
 * The server's side of one xDS stream, without any IO: requests and changes go
 * in, responses are taken out one at a time, when the one before has been written.
 */
export interface XdsSession<Request> {
  /** @throws GrpcError where the stream must end */
  receive(request: Request): void;
  /** The next response, in pieces; undefined when there is nothing to say now. */
  next(): readonly Uint8Array[] | undefined;
  status(): readonly SubscriptionStatus[];
  /** Stops watching the sets. */
  close(): void;
}

/** What a session of either protocol is made with. */
export interface SessionOptions {
  readonly view: ResourceView;
  readonly clock: Clock;
  /** More names than this on one stream end it; 100,000 unless told. */
  readonly maxNames?: number;
  /** Called when `next` may have something. */
  readonly onReady: () => void;
  readonly onAck?: (ack: Ack) => void;
  readonly onNack?: (nack: Nack) => void;
}

export const DEFAULT_MAX_NAMES = 100_000;

/** Of one stream: more types than there are in Envoy. */
export const MAX_TYPES = 64;

export interface StreamServerOptions<Opened extends OpenedStream = OpenedStream> {
  /**
   * Decides who is served with what, on a stream's first request.
   *
   * @throws GrpcError to refuse the stream with that status
   */
  readonly onOpen: (peer: Peer, node: Node | undefined, stream: OpeningStream) => Promise<Opened> | Opened;
  readonly clock?: Clock;
  readonly maxNames?: number;
}

export interface StreamInfo {
  /** Counts the streams of this server. */
  readonly id: number;
}

/** A stream, for whoever decides about it: also while it is decided, and until it has ended. */
export interface OpeningStream extends StreamInfo {
  readonly metadata: Metadata;
  /** Ends the stream as if its handler had failed with this (a GrpcError: with that status). Nothing more is sent; only the first call counts. */
  readonly end: (reason: Error) => void;
  /** Aborted when the stream is over, however that came: whoever still decides about it need not go on. */
  readonly signal: AbortSignal;
}

/** One living stream, for status. */
export interface StreamStatus extends StreamInfo {
  readonly nodeId: string;
  readonly remoteAddress: string | undefined;
  readonly openedAtMs: number;
  /** In push order. */
  readonly types: readonly SubscriptionStatus[];
}

/** Serves one of the protocols on any number of streams. */
export interface StreamServer {
  readonly handler: StreamHandler;
  streams(): readonly StreamStatus[];
}

/** What one protocol brings: its request, and the session that understands it. */
export interface XdsProtocol<Schema extends DescMessage, Opened extends OpenedStream> {
  readonly requestSchema: Schema;
  readonly createSession: (options: Opened & SessionOptions) => XdsSession<MessageShape<Schema>>;
}

/** Reads, writes and ends streams; what is said on them is the protocol's. */
export function createStreamServer<Schema extends DescMessage, Opened extends OpenedStream>(
  options: StreamServerOptions<Opened>,
  { requestSchema, createSession }: XdsProtocol<Schema, Opened>,
): StreamServer {
  const { onOpen, clock = systemClock, maxNames = DEFAULT_MAX_NAMES } = options;
  const living = new Map<number, () => StreamStatus>();
  const turns = createTurns();
  let count = 0;

  const serve = async (stream: ServerStream): Promise<void> => {
    const first = await nextRequest(stream, requestSchema);
    if (first === undefined) return;
    count += 1;
    const id = count;
    const node = nodeOf(first);
    const ending = createEnding();
    const signal = AbortSignal.any([stream.signal, ending.signal]);
    const opened = await onOpen(stream.peer, node, { id, metadata: stream.metadata, end: (reason) => ending.end(reason), signal });
    if (ending.reason() !== undefined) {
      opened.onClose?.();
      throw ending.reason();
    }
    const pump = createPump(stream, turns);
    const session = createSession({ ...opened, clock, maxNames, view: unionOf(opened.sets), onReady: () => pump.wake() });
    pump.start(session);
    const about = { id, nodeId: node?.id ?? "", remoteAddress: stream.peer.remoteAddress, openedAtMs: clock.now() };
    living.set(id, () => ({ ...about, types: session.status() }));
    const receive = async (): Promise<void> => {
      for (let request: MessageShape<Schema> | undefined = first; request !== undefined; request = await nextRequest(stream, requestSchema)) {
        session.receive(request);
      }
    };
    try {
      await Promise.race([receive(), pump.failed, ending.ended]);
    } finally {
      living.delete(id);
      session.close();
      opened.onClose?.();
    }
  };
  return { handler: { kind: "stream", handle: serve }, streams: () => [...living.values()].map((status) => status()) };
}

/** Field `node` is the same in the requests of both protocols. */
function nodeOf(request: Message): Node | undefined {
  return (request as { readonly node?: Node }).node;
}

async function nextRequest<Schema extends DescMessage>(stream: ServerStream, schema: Schema): Promise<MessageShape<Schema> | undefined> {
  const message = await stream.messages.next();
  if (message === undefined) return undefined;
  try {
    return fromBinary(schema, message, { readUnknownFields: false });
  } catch (error) {
    throw new GrpcError("INVALID_ARGUMENT", `the request cannot be decoded: ${messageOf(error)}`, error);
  }
}

interface Ending {
  end(reason: Error): void;
  reason(): Error | undefined;
  /** Rejects with the reason. */
  readonly ended: Promise<never>;
  /** Aborted with the reason. */
  readonly signal: AbortSignal;
}

function createEnding(): Ending {
  const { promise: ended, reject } = Promise.withResolvers<never>();
  // The stream may be over before anybody waits for this.
  ended.catch(() => undefined);
  const controller = new AbortController();
  let given: Error | undefined;
  return {
    ended,
    signal: controller.signal,
    reason: () => given,
    end(reason) {
      given ??= reason;
      reject(given);
      controller.abort(given);
    },
  };
}

interface Pump {
  start(session: Pick<XdsSession<unknown>, "next">): void;
  /** There may be something to send. */
  wake(): void;
  /** Rejects when a response cannot be made or written. */
  readonly failed: Promise<never>;
}

/** Writes one response at a time: what changes meanwhile is gathered by the session and goes with the next. */
function createPump(stream: ServerStream, turns: Turns): Pump {
  const { promise: failed, reject } = Promise.withResolvers<never>();
  // The stream may have ended before anybody waits for this.
  failed.catch(() => undefined);
  let session: Pick<XdsSession<unknown>, "next"> | undefined;
  let isBusy = false;

  const run = async (): Promise<void> => {
    for (let response = session?.next(); response !== undefined && !stream.signal.aborted; response = session?.next()) {
      await stream.write(response);
    }
    isBusy = false;
  };
  return {
    failed,
    start(started) {
      session = started;
    },
    wake() {
      if (isBusy || session === undefined) return;
      isBusy = true;
      // Not now: everything that changes in this turn makes one response.
      turns(() => void run().catch(reject));
    },
  };
}
