import type { Health } from "../../../model/workload.ts";

/** What a host says about itself: the whole truth each time. What is missing from it is gone. */
export interface HostReport {
  /** What the host calls itself, for people. */
  readonly hostName: string;
  readonly agentVersion: string;
  readonly envoyVersion: string;
  readonly workloads: readonly WorkloadReport[];
  readonly facts: HostFacts;
  /** Where its Envoy takes captured inbound connections. */
  readonly inboundPort: number;
}

/** One instance that a host runs. Labels, identity and ports are not its to say: they come from the group. */
export interface WorkloadReport {
  /** Unique on the host. */
  readonly name: string;
  /** `NAMESPACE/NAME` of its WorkloadGroup. */
  readonly group: string;
  readonly addresses: readonly string[];
  /** Numbers of named ports of the group, where this host has others. */
  readonly ports: Readonly<Record<string, number>>;
  readonly health: Health;
  readonly healthDetail: string;
  /** Where its Envoy takes the workload's captured outbound connections. */
  readonly outboundPort: number;
}

export interface HostFacts {
  readonly os: string;
  readonly kernel: string;
  readonly architecture: string;
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly addresses: readonly string[];
  /** `region/zone/subzone` */
  readonly locality: string;
  /** How it captures traffic: `nft`, `iptables`, `none`. */
  readonly capture: string;
  /** ISO 8601; empty where it is not known. */
  readonly bootedAt: string;
}

/** A reported workload that was not taken, and why. */
export interface Refusal {
  readonly workload: string;
  readonly reason: string;
}

/**
 * What a host may be, as the authority granted it. Asked at every report and
 * whenever the grants change.
 */
export interface GrantCheck {
  /** @param group `NAMESPACE/NAME` */
  allowsGroup(hostId: string, group: string): boolean;
  allowsAddress(hostId: string, address: string): boolean;
}
