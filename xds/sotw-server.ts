import { DiscoveryRequestSchema } from "../proto/gen/envoy/service/discovery/v3/discovery_pb.js";
import { createSotwSession } from "./sotw-session.ts";
import { createStreamServer, type OpenedStream, type StreamServer, type StreamServerOptions } from "./stream-server.ts";

/** The path of state-of-the-world ADS. */
export const SOTW_ADS_PATH = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";

/** Serves state-of-the-world xDS. Its handler is for `SOTW_ADS_PATH`, and for the path of a single type's service as well. */
export function createSotwServer(options: StreamServerOptions): StreamServer {
  return createStreamServer<typeof DiscoveryRequestSchema, OpenedStream>(options, {
    requestSchema: DiscoveryRequestSchema,
    createSession: createSotwSession,
  });
}
