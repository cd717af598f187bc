import {
  HttpConnectionManager_CodecType as CodecType,
  HttpConnectionManager_ForwardClientCertDetails as ClientCertDetails,
  HttpConnectionManager_PathWithEscapedSlashesAction as EscapedSlashes,
  HttpConnectionManager_ServerHeaderTransformation as ServerHeader,
  HttpConnectionManagerSchema,
} from "../../proto/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js";
import { HeaderMutationSchema } from "../../proto/gen/envoy/extensions/http/early_header_mutation/header_mutation/v3/header_mutation_pb.js";
import type { InboundPortIr } from "../ir/proxy.ts";
import type { accessLogs } from "./access-log.ts";
import { ADS } from "./config-source.ts";
import { duration } from "./duration.ts";
import { inboundFilters, outboundFilters } from "./http-filter/filters.ts";
import { readsPaths } from "./rbac.ts";
import { type Init, pack } from "./resource.ts";
import type { NetworkFilterInit } from "./tcp-proxy.ts";

type HcmInit = Init<typeof HttpConnectionManagerSchema>;
type AccessLogs = ReturnType<typeof accessLogs>;

/** Of one HTTP/2 connection; a client that wants more opens another one. */
const MAX_CONCURRENT_STREAMS = 1_024;

interface OutboundHttp {
  readonly statPrefix: string;
  /** The route table. */
  readonly table: string;
  readonly normalizesPaths: boolean;
}

/** HTTP of a workload, on one port number. */
export function outboundHttp({ statPrefix, table, normalizesPaths }: OutboundHttp, accessLog: AccessLogs): NetworkFilterInit {
  return connectionManager({
    ...common(statPrefix, table, accessLog),
    httpFilters: outboundFilters(),
    normalizePath: normalizesPaths,
  });
}

/** HTTP to one port of a workload. `authenticated`: over mutual TLS. */
export function inboundHttp(port: InboundPortIr, table: string, authenticated: boolean, accessLog: AccessLogs): NetworkFilterInit {
  return connectionManager({
    ...common(`inbound_${port.port}`, table, accessLog),
    httpFilters: inboundFilters(),
    ...pathRules(port),
    earlyHeaderMutationExtensions: [STRIP_ENVOY_HEADERS],
    // The application may trust this header: it says who the peer is, or is not there.
    ...(authenticated
      ? { forwardClientCertDetails: ClientCertDetails.SANITIZE_SET, setCurrentClientCertDetails: { uri: true } }
      : { forwardClientCertDetails: ClientCertDetails.SANITIZE }),
  });
}

/**
 * A policy about paths must see the path that the application sees. Merging and
 * refusing slashes changes what some applications mean by a path, so only ports
 * with such a policy pay for it.
 */
function pathRules({ authorization }: InboundPortIr): HcmInit {
  if (!readsPaths(authorization)) return { normalizePath: true };
  return {
    normalizePath: true,
    mergeSlashes: true,
    pathWithEscapedSlashesAction: EscapedSlashes.REJECT_REQUEST,
  };
}

/**
 * `x-envoy-…` request headers command the proxy (retries, timeouts, faults).
 * From another host they are a stranger's commands. A route's own header rules
 * come too late: the router has read these by then.
 */
const STRIP_ENVOY_HEADERS: NonNullable<HcmInit["earlyHeaderMutationExtensions"]>[number] = {
  name: "envoy.http.early_header_mutation.header_mutation",
  typedConfig: pack(HeaderMutationSchema, {
    mutations: [
      {
        action: {
          case: "removeOnMatch",
          value: { keyMatcher: { matchPattern: { case: "prefix", value: "x-envoy-" } } },
        },
      },
    ],
  }),
};

function common(statPrefix: string, table: string, accessLog: AccessLogs): HcmInit {
  return {
    statPrefix,
    codecType: CodecType.AUTO,
    routeSpecifier: { case: "rds", value: { routeConfigName: table, configSource: ADS } },
    accessLog,
    // The proxy is transparent: what the two applications say of themselves stays.
    serverHeaderTransformation: ServerHeader.PASS_THROUGH,
    useRemoteAddress: false,
    preserveExternalRequestId: true,
    proxy100Continue: true,
    httpProtocolOptions: { acceptHttp10: true },
    http2ProtocolOptions: { maxConcurrentStreams: MAX_CONCURRENT_STREAMS },
    upgradeConfigs: [{ upgradeType: "websocket" }],
    // Streams may be silent for as long as they like (Istio's default); connections close after an hour of no stream.
    streamIdleTimeout: duration(0),
  };
}

function connectionManager(init: HcmInit): NetworkFilterInit {
  return {
    name: "envoy.filters.network.http_connection_manager",
    configType: { case: "typedConfig", value: pack(HttpConnectionManagerSchema, init) },
  };
}
