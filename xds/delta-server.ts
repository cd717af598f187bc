import { DeltaDiscoveryRequestSchema } from "../proto/gen/envoy/service/discovery/v3/discovery_pb.js";
import { createDeltaSession } from "./delta-session.ts";
import { createStreamServer, type OpenedStream, type StreamServer, type StreamServerOptions } from "./stream-server.ts";

/** The path of delta ADS. */
export const DELTA_ADS_PATH = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/**
 * A client that comes back names all that it holds of a type, with versions, in
 * one request: of a large mesh that is more than gRPC's usual 4 MiB (40,000
 * resources). This is room for ten times as many. For callers who are known.
 */
export const MAX_DELTA_REQUEST_BYTES = 32 << 20;

/** What a delta stream may be given besides. */
export interface OpenedDeltaStream extends OpenedStream {
  /** Types whose `*` counts for nothing, because the client fetches them by name (Envoy's on-demand clusters). */
  readonly onDemandTypes?: readonly string[];
  /** Set for our own client, which waits to be told that it has everything. */
  readonly marksCompleteness?: boolean;
}

export interface DeltaServerOptions extends StreamServerOptions<OpenedDeltaStream> {
  readonly maxResponseBytes?: number;
  readonly gateTimeoutMs?: number;
  readonly maxRetryBatches?: number;
}

/** Serves delta xDS. Its handler is for `DELTA_ADS_PATH`, and for the path of a single type's delta service as well. */
export type DeltaServer = StreamServer;

export function createDeltaServer(options: DeltaServerOptions): DeltaServer {
  return createStreamServer(options, {
    requestSchema: DeltaDiscoveryRequestSchema,
    createSession: (opened) => createDeltaSession({ ...options, ...opened }),
  });
}
