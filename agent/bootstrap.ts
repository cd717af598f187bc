import { contentHash } from "../base/content-hash.ts";

/** All that an Envoy is started with; everything else comes by xDS. */
export interface BootstrapInput {
  readonly hostId: string;
  readonly trustDomain: string;
  readonly locality: { readonly region: string; readonly zone: string; readonly subZone: string };
  /** The agent's delta ADS server. */
  readonly xdsSocketPath: string;
  readonly adminSocketPath: string;
  readonly maxConnections: number;
}

/** A bootstrap file and its version: an Envoy with the same version need not be replaced. */
export interface Bootstrap {
  readonly json: string;
  readonly hash: string;
}

/** The static cluster that leads to the agent. */
export const XDS_CLUSTER = "xds-agent";

/** Envoy's bootstrap (envoy.config.bootstrap.v3.Bootstrap) as JSON. Holds no secret. */
export function buildBootstrap(input: BootstrapInput): Bootstrap {
  const { hostId, locality, xdsSocketPath, adminSocketPath, maxConnections } = input;
  const ads = { ads: {}, resource_api_version: "V3", initial_fetch_timeout: "15s" };
  const content = {
    node: {
      id: `host~${hostId}`,
      cluster: "ironmesh-host",
      locality: { region: locality.region, zone: locality.zone, sub_zone: locality.subZone },
      metadata: { HOST_ID: hostId, TRUST_DOMAIN: input.trustDomain },
    },
    // Only the agent may use it: the socket is 0600 and no listener on a port exists.
    admin: { address: { pipe: { path: adminSocketPath, mode: 0o600 } }, ignore_global_conn_limit: true },
    dynamic_resources: {
      ads_config: {
        api_type: "DELTA_GRPC",
        transport_api_version: "V3",
        set_node_on_first_message_only: true,
        grpc_services: [
          {
            envoy_grpc: {
              cluster_name: XDS_CLUSTER,
              // After a restart of the agent Envoy is back within a second; its own default takes up to 15.
              retry_policy: { retry_back_off: { base_interval: "0.2s", max_interval: "1s" } },
            },
          },
        ],
      },
      cds_config: ads,
      lds_config: ads,
    },
    static_resources: {
      clusters: [
        {
          name: XDS_CLUSTER,
          type: "STATIC",
          connect_timeout: "1s",
          typed_extension_protocol_options: {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
              "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
              explicit_http_config: { http2_protocol_options: { connection_keepalive: { interval: "30s", timeout: "5s" } } },
            },
          },
          load_assignment: {
            cluster_name: XDS_CLUSTER,
            endpoints: [{ lb_endpoints: [{ endpoint: { address: { pipe: { path: xdsSocketPath } } } }] }],
          },
        },
      ],
    },
    overload_manager: {
      refresh_interval: "0.25s",
      resource_monitors: [
        {
          name: "envoy.resource_monitors.global_downstream_max_connections",
          typed_config: {
            "@type": "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
            max_active_downstream_connections: maxConnections,
          },
        },
      ],
    },
    // Idle series go away; live ones keep their value.
    stats_eviction_interval: "300s",
    layered_runtime: { layers: [{ name: "static", static_layer: { "re2.max_program_size.error_level": 32_768 } }] },
  };
  const json = `${JSON.stringify(content, null, 2)}\n`;
  return { json, hash: contentHash(json) };
}
