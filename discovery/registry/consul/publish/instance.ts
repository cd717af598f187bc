import type { ServiceKey } from "../../../../model/service.ts";
import type { WorkloadKey } from "../../../../model/workload.ts";

/** Consul's own mark of who registers from outside; what carries it is read back by nobody of the mesh. */
export const SOURCE_META = "external-source";
export const SOURCE = "ironmesh";
/** On the node: whose it is, so that nobody takes away what another mesh wrote. */
export const OWNER_META = "ironmesh-owner";
/** On an instance: the service of the mesh that it is of. */
export const SERVICE_META = "ironmesh-service";

export type CheckStatus = "passing" | "warning" | "critical";

/** What Consul holds of one instance, as far as we write it. Equal records need no writing. */
export interface InstanceRecord {
  /** Of the Consul service. */
  readonly service: string;
  readonly address: string;
  readonly port: number;
  /** Sorted. */
  readonly tags: readonly string[];
  readonly meta: Readonly<Record<string, string>>;
  readonly weight: number;
  /** Undefined: it has lost its check, and Consul would take it to be well. */
  readonly status: CheckStatus | undefined;
}

/** One instance of a mesh's service, in Consul's words. */
export interface PublishedInstance {
  /** Unique on the node that all of them are on. */
  readonly id: string;
  readonly origin: ServiceKey;
  readonly workload: WorkloadKey;
  readonly record: InstanceRecord;
  /** Words of the check; they alone are no reason to write. */
  readonly output: string;
}

/** The id of an instance's one check. */
export function checkIdOf(instanceId: string): string {
  return `${instanceId}/health`;
}
