import type { AccessLogSchema } from "../../proto/gen/envoy/config/accesslog/v3/accesslog_pb.js";
import { ExpressionFilterSchema } from "../../proto/gen/envoy/extensions/access_loggers/filters/cel/v3/cel_pb.js";
import { StdoutAccessLogSchema } from "../../proto/gen/envoy/extensions/access_loggers/stream/v3/stream_pb.js";
import type { ProxyIr } from "../ir/proxy.ts";
import { type Init, pack } from "./resource.ts";

type AccessLogInit = Init<typeof AccessLogSchema>;

/** Where a line of the access log comes from. */
export interface AccessLogOrigin {
  readonly direction: "inbound" | "outbound";
  /** `NAMESPACE/NAME`; empty where no workload is meant. */
  readonly workload: string;
}

/** Istio's names where Istio has the field; identities of all four ends besides. */
const FIELDS = {
  authority: "%REQ(:AUTHORITY)%",
  bytes_received: "%BYTES_RECEIVED%",
  bytes_sent: "%BYTES_SENT%",
  connection_termination_details: "%CONNECTION_TERMINATION_DETAILS%",
  downstream_local_address: "%DOWNSTREAM_LOCAL_ADDRESS%",
  downstream_local_identity: "%DOWNSTREAM_LOCAL_URI_SAN%",
  downstream_peer_identity: "%DOWNSTREAM_PEER_URI_SAN%",
  downstream_remote_address: "%DOWNSTREAM_REMOTE_ADDRESS%",
  downstream_tls_version: "%DOWNSTREAM_TLS_VERSION%",
  downstream_transport_failure_reason: "%DOWNSTREAM_TRANSPORT_FAILURE_REASON%",
  duration: "%DURATION%",
  filter_chain: "%FILTER_CHAIN_NAME%",
  grpc_status: "%GRPC_STATUS_NUMBER%",
  method: "%REQ(:METHOD)%",
  path: "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
  protocol: "%PROTOCOL%",
  request_id: "%REQ(X-REQUEST-ID)%",
  requested_server_name: "%REQUESTED_SERVER_NAME%",
  response_code: "%RESPONSE_CODE%",
  response_code_details: "%RESPONSE_CODE_DETAILS%",
  response_flags: "%RESPONSE_FLAGS%",
  route_name: "%ROUTE_NAME%",
  start_time: "%START_TIME%",
  upstream_attempts: "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
  upstream_cluster: "%UPSTREAM_CLUSTER_RAW%",
  upstream_host: "%UPSTREAM_HOST%",
  upstream_local_address: "%UPSTREAM_LOCAL_ADDRESS%",
  upstream_local_identity: "%UPSTREAM_LOCAL_URI_SAN%",
  upstream_peer_identity: "%UPSTREAM_PEER_URI_SAN%",
  upstream_transport_failure_reason: "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
  user_agent: "%REQ(USER-AGENT)%",
} as const;

/**
 * One line for each connection of a listener, but for those of some chains: said
 * once, where each of a thousand chains would say it anew.
 *
 * @param exceptChains beginnings of the names of chains that speak for themselves
 */
export function connectionLogs(kind: ProxyIr["accessLog"], origin: AccessLogOrigin, exceptChains: readonly string[]): AccessLogInit[] {
  const expression = exceptChains.map((beginning) => `!xds.filter_chain_name.startsWith("${beginning}")`).join(" && ");
  return accessLogs(kind, origin).map((log) => ({
    ...log,
    filter: {
      filterSpecifier: {
        case: "extensionFilter",
        value: { name: "envoy.access_loggers.extension_filters.cel", configType: { case: "typedConfig", value: pack(ExpressionFilterSchema, { expression }) } },
      },
    },
  }));
}

/**
 * To Envoy's standard output, not to a file called `/dev/stdout`: the latter
 * cannot be opened when Envoy runs as another user, and the listener is refused.
 */
export function accessLogs(kind: ProxyIr["accessLog"], { direction, workload }: AccessLogOrigin): AccessLogInit[] {
  if (kind === undefined) return [];
  return [
    {
      name: "envoy.access_loggers.stdout",
      configType: {
        case: "typedConfig",
        value: pack(StdoutAccessLogSchema, {
          accessLogFormat: {
            case: "logFormat",
            value: { format: { case: "jsonFormat", value: { direction, workload, ...FIELDS } } },
          },
        }),
      },
    },
  ];
}
