import { create } from "@bufbuild/protobuf";
import {
  Cluster_DiscoveryType as DiscoveryType,
  Cluster_LbPolicy as LbPolicy,
  ClusterSchema,
} from "../../proto/gen/envoy/config/cluster/v3/cluster_pb.js";
import { HttpProtocolOptionsSchema } from "../../proto/gen/envoy/extensions/upstreams/http/v3/http_protocol_options_pb.js";
import { HTTP_OPTIONS, thresholds } from "./cluster.ts";
import { duration } from "./duration.ts";
import { type Init, pack, translated, type TranslatedResource } from "./resource.ts";

/** Istio's names. */
export const BLACK_HOLE_CLUSTER = "BlackHoleCluster";
export const PASSTHROUGH_CLUSTER = "PassthroughCluster";

/**
 * Whence the proxy dials its own workloads. The rules of interception let
 * connections from here pass, so that they do not come back to the proxy; the
 * agent gives the IPv6 one to the loopback device.
 */
export const INBOUND_SOURCE_IPV4 = "127.0.0.6";
export const INBOUND_SOURCE_IPV6 = "::6";

const CONNECT_TIMEOUT_MS = 10_000;

export function inboundClusterName(port: number): string {
  return `inbound|${port}||`;
}

/** Has no endpoint: what is sent there is closed. */
export function blackHoleCluster(): TranslatedResource {
  return translated(
    ClusterSchema,
    BLACK_HOLE_CLUSTER,
    create(ClusterSchema, {
      name: BLACK_HOLE_CLUSTER,
      clusterDiscoveryType: { case: "type", value: DiscoveryType.STATIC },
      connectTimeout: duration(CONNECT_TIMEOUT_MS),
    }),
  );
}

/** Goes where the connection was going before it was captured. */
export function passthroughCluster(): TranslatedResource {
  const typedExtensionProtocolOptions = SAME_PROTOCOL;
  return translated(ClusterSchema, PASSTHROUGH_CLUSTER, create(ClusterSchema, { ...originalDestination(PASSTHROUGH_CLUSTER), typedExtensionProtocolOptions }));
}

/** HTTP goes on in the version that its caller speaks. */
const SAME_PROTOCOL = {
  [HTTP_OPTIONS]: pack(HttpProtocolOptionsSchema, {
    upstreamProtocolOptions: {
      case: "useDownstreamProtocolConfig",
      value: { httpProtocolOptions: {}, http2ProtocolOptions: {} },
    },
  }),
};

/** The application behind one captured port, in the protocol that its caller speaks. */
export function inboundCluster(port: number): TranslatedResource {
  const name = inboundClusterName(port);
  return translated(
    ClusterSchema,
    name,
    create(ClusterSchema, {
      ...originalDestination(name),
      upstreamBindConfig: {
        sourceAddress: { address: INBOUND_SOURCE_IPV4, portSpecifier: { case: "portValue", value: 0 } },
        extraSourceAddresses: [
          { address: { address: INBOUND_SOURCE_IPV6, portSpecifier: { case: "portValue", value: 0 } } },
        ],
      },
      typedExtensionProtocolOptions: SAME_PROTOCOL,
    }),
  );
}

function originalDestination(name: string): Init<typeof ClusterSchema> {
  return {
    name,
    clusterDiscoveryType: { case: "type", value: DiscoveryType.ORIGINAL_DST },
    lbPolicy: LbPolicy.CLUSTER_PROVIDED,
    connectTimeout: duration(CONNECT_TIMEOUT_MS),
    circuitBreakers: { thresholds: [thresholds({})] },
  };
}
