import type { Health, Locality, WorkloadKey } from "./workload.ts";
import type { Source } from "./source.ts";

/** One workload's answer to one port of a service. */
export interface Endpoint {
  /** The service port that it serves. */
  readonly servicePort: number;
  /** An IP address, or a host name where the service is resolved by DNS. */
  readonly address: string;
  /** Where else it answers on the same port, such as its address of the other family. Absent: nowhere. */
  readonly additionalAddresses?: readonly string[];
  readonly port: number;
  readonly workload: WorkloadKey;
  readonly workloadName: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly locality: Locality;
  /** Zones whose callers the source means it for, sorted. Absent: those of any. */
  readonly zoneHints?: readonly string[];
  /** Nodes whose callers the source means it for, sorted. Absent: those of any. */
  readonly nodeHints?: readonly string[];
  readonly network: string;
  readonly weight: number;
  readonly health: Health;
  /** True: reached over mutual TLS, and its certificate must carry `identity`. */
  readonly meshed: boolean;
  /** The SPIFFE ID that its certificate carries, for a meshed one. */
  readonly identity?: string;
  readonly source: Source;
}
