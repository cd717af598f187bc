/**
 * What traffic of a host goes through its proxy, as the agent states it: the
 * input of {@link planCapture}. Plain data; nothing in it depends on nft or
 * iptables.
 */
export interface CaptureSpec {
  /** The user that Envoy runs as, never 0: its own traffic is not captured outbound. */
  readonly proxyUid: number;
  /**
   * Users whose connections *from 127.0.0.6 or ::6* reach a declared port
   * directly, as the proxy's own deliveries do: the agent's health probes.
   */
  readonly probeUids?: readonly number[];
  /** The agent's own cgroup: a workload's that held it would capture the agent's connections. Absent where it is the root. */
  readonly agentCgroup?: string;
  /** Where redirected inbound connections arrive; the listener binds the wildcard addresses. */
  readonly inboundListenerPort: number;
  readonly outbound: readonly OutboundCapture[];
  readonly inbound: readonly InboundPort[];
  /** `all`: every TCP connection of a declared workload but loopback and exclusions. `vips`: only those to VIPs. */
  readonly outboundScope: OutboundScope;
  /** Outbound only. They speak about real addresses: a connection to a VIP is captured whatever its port (22 excepted). */
  readonly exclusions: Exclusions;
  /** The ranges that virtual addresses of services come from; empty lists where none are used. */
  readonly vips: VipRanges;
  readonly dns?: DnsCapture;
  /** Ports that no rule may ever close or capture, beside 22: the agent's own status and metrics ports. */
  readonly managementPorts: readonly number[];
}

export type OutboundScope = "all" | "vips";

/** One workload's own outbound listener, and whose connections go there. */
export interface OutboundCapture {
  /** Names the workload in rule comments and issues. */
  readonly workload: string;
  readonly match: WorkloadMatch;
  /** The listener binds 127.0.0.1 and ::1 on it. Two workloads never share one: it is what tells their identities apart. */
  readonly outboundPort: number;
}

/** A process is the workload's when *either* its user or its cgroup matches. */
export interface WorkloadMatch {
  readonly uids?: readonly number[];
  /** Paths under the cgroup v2 root, as in /proc/PID/cgroup; descendants match too. They must exist when rules are loaded. */
  readonly cgroups?: readonly string[];
}

/** A port that a workload serves. */
export interface InboundPort {
  readonly workload: string;
  readonly port: number;
  /** The local addresses it is served on; any local address when absent. */
  readonly addresses?: readonly string[];
  /**
   * True for a port under STRICT or an AuthorizationPolicy: a guard closes the
   * way around the proxy, and stays when capture is paused.
   */
  readonly failClosed: boolean;
}

export interface Exclusions {
  readonly ports: readonly number[];
  readonly cidrs: readonly string[];
}

export interface VipRanges {
  /** CIDRs, such as 240.240.0.0/16. */
  readonly v4: readonly string[];
  /** CIDRs, such as 2001:2::/48. */
  readonly v6: readonly string[];
}

/** Name queries of the declared workloads, UDP and TCP port 53. */
export interface DnsCapture {
  /** The agent's resolver; it binds 127.0.0.1 and ::1 (a wildcard bind answers from the wrong address). */
  readonly port: number;
  /** False where systemd-resolved asks the agent's resolver itself. */
  readonly capture: boolean;
}

/** SSH is never captured and never closed, in any mode. */
export const SSH_PORT = 22;

/** The proxy delivers inbound connections from these; they tell a delivery from any other connection. */
export const DELIVERY_SOURCE = { v4: "127.0.0.6", v6: "::6" } as const;
