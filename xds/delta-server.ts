import { fromBinary } from "@bufbuild/protobuf";
import { type Clock, systemClock } from "../base/clock.ts";
import { messageOf } from "../base/coded-error.ts";
import type { Peer, ServerStream, StreamHandler } from "../base/grpc/call.ts";
import { GrpcError } from "../base/grpc/status.ts";
import type { Node } from "../proto/gen/envoy/config/core/v3/base_pb.js";
import { type DeltaDiscoveryRequest, DeltaDiscoveryRequestSchema } from "../proto/gen/envoy/service/discovery/v3/discovery_pb.js";
import { type Ack, createDeltaSession, type DeltaSession } from "./delta-session.ts";
import { type ResourceView, unionOf } from "./resource-set.ts";
import type { Nack, SubscriptionStatus } from "./subscription.ts";

/** The path of delta ADS. */
export const DELTA_ADS_PATH = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/** What a stream is given once it is known who is there. */
export interface OpenedStream {
  /** The stream sees their union; where two have one name, the first wins. */
  readonly sets: readonly ResourceView[];
  /** Types whose `*` counts for nothing, because the client fetches them by name (Envoy's on-demand clusters). */
  readonly onDemandTypes?: readonly string[];
  /** Set for our own client, which waits to be told that it has everything. */
  readonly marksCompleteness?: boolean;
  readonly onAck?: (ack: Ack) => void;
  readonly onNack?: (nack: Nack) => void;
  /** Called once when the stream has ended, however it did. */
  readonly onClose?: () => void;
}

export interface DeltaServerOptions {
  /**
   * Decides who is served with what, on a stream's first request.
   *
   * @throws GrpcError to refuse the stream with that status
   */
  readonly onOpen: (peer: Peer, node: Node | undefined, stream: StreamInfo) => Promise<OpenedStream> | OpenedStream;
  readonly clock?: Clock;
  readonly maxResponseBytes?: number;
  readonly gateTimeoutMs?: number;
  readonly maxNames?: number;
}

export interface StreamInfo {
  /** Counts the streams of this server. */
  readonly id: number;
}

/** One living stream, for status. */
export interface StreamStatus extends StreamInfo {
  readonly nodeId: string;
  readonly remoteAddress: string | undefined;
  readonly openedAtMs: number;
  /** In push order. */
  readonly types: readonly SubscriptionStatus[];
}

/** Serves delta xDS on any number of streams. */
export interface DeltaServer {
  /** To be served under `DELTA_ADS_PATH`, and under the path of a single type's delta service as well. */
  readonly handler: StreamHandler;
  streams(): readonly StreamStatus[];
}

export function createDeltaServer(options: DeltaServerOptions): DeltaServer {
  const { onOpen, clock = systemClock } = options;
  const living = new Map<number, () => StreamStatus>();
  let count = 0;

  const serve = async (stream: ServerStream): Promise<void> => {
    const first = await nextRequest(stream);
    if (first === undefined) return;
    count += 1;
    const id = count;
    const opened = await onOpen(stream.peer, first.node, { id });
    const pump = createPump(stream);
    const session = createDeltaSession({
      ...options,
      ...opened,
      clock,
      view: unionOf(opened.sets),
      onReady: () => pump.wake(),
    });
    pump.start(session);
    const about = { id, nodeId: first.node?.id ?? "", remoteAddress: stream.peer.remoteAddress, openedAtMs: clock.now() };
    living.set(id, () => ({ ...about, types: session.status() }));
    const receive = async (): Promise<void> => {
      for (let request: DeltaDiscoveryRequest | undefined = first; request !== undefined; request = await nextRequest(stream)) {
        session.receive(request);
      }
    };
    try {
      await Promise.race([receive(), pump.failed]);
    } finally {
      living.delete(id);
      session.close();
      opened.onClose?.();
    }
  };
  return { handler: { kind: "stream", handle: serve }, streams: () => [...living.values()].map((status) => status()) };
}

async function nextRequest(stream: ServerStream): Promise<DeltaDiscoveryRequest | undefined> {
  const message = await stream.messages.next();
  if (message === undefined) return undefined;
  try {
    return fromBinary(DeltaDiscoveryRequestSchema, message, { readUnknownFields: false });
  } catch (error) {
    throw new GrpcError("INVALID_ARGUMENT", `the request cannot be decoded: ${messageOf(error)}`, error);
  }
}

interface Pump {
  start(session: DeltaSession): void;
  /** There may be something to send. */
  wake(): void;
  /** Rejects when a response cannot be made or written. */
  readonly failed: Promise<never>;
}

/** Writes one response at a time: what changes meanwhile is gathered by the session and goes with the next. */
function createPump(stream: ServerStream): Pump {
  const { promise: failed, reject } = Promise.withResolvers<never>();
  // The stream may have ended before anybody waits for this.
  failed.catch(() => undefined);
  let session: DeltaSession | undefined;
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
      queueMicrotask(() => void run().catch(reject));
    },
  };
}
