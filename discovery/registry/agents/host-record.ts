import type { WorkloadKey } from "../../../model/workload.ts";
import type { HostReport, Refusal } from "./report.ts";

/**
 * How sure it is that a host is there.
 * - `connected`: its agent's stream is open.
 * - `unknown`: known from before this control plane started, or lost together
 *   with most others, and not back yet. It gets traffic: a restart or an outage
 *   of ours is no failure of theirs.
 * - `suspect`: its stream is lost, for less than the grace.
 * - `gone`: lost for longer. It gets no new traffic, and is forgotten later.
 */
export type HostState = "connected" | "unknown" | "suspect" | "gone";

/** An enrolled host that has reported, as the inventory lists it. */
export interface HostRecord {
  readonly hostId: string;
  readonly state: HostState;
  /** When the present state began, in milliseconds since the epoch. */
  readonly since: number;
  readonly report: HostReport;
  readonly workloads: readonly HostWorkload[];
  readonly refusals: readonly Refusal[];
}

/** A workload that was taken from a host's report. */
export interface HostWorkload {
  readonly name: string;
  /** `NAMESPACE/NAME` */
  readonly group: string;
  readonly key: WorkloadKey;
  readonly outboundPort: number;
}
