import type { FilterSchema } from "../../proto/gen/envoy/config/listener/v3/listener_components_pb.js";
import { TcpProxySchema } from "../../proto/gen/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.js";
import type { TcpRouteIr } from "../ir/outbound.ts";
import { BLACK_HOLE_CLUSTER } from "./fixed-clusters.ts";
import { type Init, pack } from "./resource.ts";

export type NetworkFilterInit = Init<typeof FilterSchema>;
export type TcpProxyInit = Init<typeof TcpProxySchema>;

export function tcpProxy(init: TcpProxyInit): NetworkFilterInit {
  return {
    name: "envoy.filters.network.tcp_proxy",
    configType: { case: "typedConfig", value: pack(TcpProxySchema, init) },
  };
}

export function toCluster(cluster: string): Pick<TcpProxyInit, "clusterSpecifier"> {
  return { clusterSpecifier: { case: "cluster", value: cluster } };
}

export function toClusters(clusters: TcpRouteIr["clusters"]): Pick<TcpProxyInit, "clusterSpecifier"> {
  const taking = clusters.filter(({ weight }) => weight > 0);
  const [only] = taking;
  if (only === undefined) return toCluster(BLACK_HOLE_CLUSTER);
  if (taking.length === 1) return toCluster(only.cluster);
  return {
    clusterSpecifier: {
      case: "weightedClusters",
      value: { clusters: taking.map(({ cluster, weight }) => ({ name: cluster, weight })) },
    },
  };
}
