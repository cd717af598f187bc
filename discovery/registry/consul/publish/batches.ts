import { CodedError } from "../../../../base/coded-error.ts";
import type { Operation } from "./operations.ts";

/** What is written as one: an instance with its check, or the end of one. */
export interface Write {
  /** The Consul service that it is about; undefined: the node itself. */
  readonly service: string | undefined;
  readonly operations: readonly Operation[];
  /** Called when Consul has taken it. */
  readonly onWritten: () => void;
}

/** Consul takes 128 operations at a time, and no more than half a megabyte. */
const MAX_OPERATIONS = 64;

/** In order, each as large as one transaction may be. */
export function batchesOf(writes: readonly Write[]): readonly (readonly Write[])[] {
  const batches: Write[][] = [];
  let size = MAX_OPERATIONS;
  for (const write of writes) {
    if (size + write.operations.length > MAX_OPERATIONS) {
      batches.push([]);
      size = 0;
    }
    batches.at(-1)?.push(write);
    size += write.operations.length;
  }
  return batches;
}

/** A refusal in words of what is to be done about it. */
export function refusalOf(reason: string, node: string, service: string | undefined): CodedError {
  const what = service === undefined ? `the node ${node}` : service;
  if (/permission denied/i.test(reason)) {
    const rule = service === undefined ? `node "${node}" { policy = "write" }` : `service "${service}" { policy = "write" }`;
    return new CodedError("MESH_PUBLISH_DENIED", `consul does not let us write ${what}`, { hint: `the token needs ${rule}`, facts: { reason } });
  }
  return new CodedError("MESH_PUBLISH_REFUSED", `consul refuses ${what}: ${reason}`, { hint: "everything else is published; see the configuration of publish" });
}
