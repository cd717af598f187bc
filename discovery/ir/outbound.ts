import type { ClusterIr, ValidationIr } from "./cluster.ts";
import type { VirtualHostIr } from "./route.ts";

/**
 * All that one service contributes to the outbound side of every proxy that
 * sees it: the unit of incremental translation. It depends on that service and
 * the resources that name its host, on nothing else.
 */
export interface OutboundServiceIr {
  readonly hostname: string;
  readonly clusters: readonly ClusterIr[];
  readonly virtualHosts: readonly VirtualHostIr[];
  readonly tcpRoutes: readonly TcpRouteIr[];
  readonly validation?: ValidationIr;
}

/** Connections to one port of a service whose protocol is TCP or TLS: one filter chain of each outbound listener. */
export interface TcpRouteIr {
  /** Unique: `tcp|5432|db.default.svc.mesh.internal`. */
  readonly name: string;
  /** The service's virtual addresses; empty: any address outside of the virtual ranges. */
  readonly addresses: readonly string[];
  readonly port: number;
  /** Match by SNI instead of address (TLS passed through); empty for none. */
  readonly serverNames: readonly string[];
  readonly clusters: readonly { readonly cluster: string; readonly weight: number }[];
  readonly idleTimeoutMs?: number;
}

/**
 * What the outbound listeners of one scope look like. It changes when a port
 * number is used by HTTP services for the first or last time, or with the TCP services.
 */
export interface OutboundShapeIr {
  /** Port numbers that HTTP services with a virtual address use, sorted: one filter chain and one route table each. */
  readonly httpPorts: readonly number[];
  /** Port numbers that other HTTP services use, sorted: a further chain and table each, for what else goes to the port. */
  readonly outsideHttpPorts: readonly number[];
  /** Sorted by name. */
  readonly tcpRoutes: readonly TcpRouteIr[];
  /** Ranges that virtual addresses are taken from. */
  readonly vipRanges: readonly string[];
  /** What happens to a destination that the mesh does not know. */
  readonly unknownDestinations: "allow" | "deny";
}
