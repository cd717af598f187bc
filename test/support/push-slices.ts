import assert from "node:assert/strict";
import { fromBinary } from "@bufbuild/protobuf";
import type { Clock } from "../../base/clock.ts";
import type { Push } from "../../discovery/push/push.ts";
import { SLICE_MS } from "../../base/sliced-work.ts";
import { HealthStatus } from "../../proto/gen/envoy/config/core/v3/health_check_pb.js";
import { ClusterLoadAssignmentSchema } from "../../proto/gen/envoy/config/endpoint/v3/endpoint_pb.js";
import { NameRecordSchema } from "../../proto/gen/ironmesh/agent/v1/agent_pb.js";
import { TYPE_URLS } from "../../xds/type-urls.ts";

/** Each look at this clock ends a slice; what is to go on waits until the test lets it. */
export function createSlices(manual: Clock): { readonly clock: Clock; isWaiting(): boolean; runOne(): boolean } {
  const waiting = new Set<() => void>();
  let looks = 0;
  return {
    clock: {
      now: () => manual.now(),
      elapsed: () => manual.elapsed() + (looks += SLICE_MS),
      after(delayMs, callback) {
        if (delayMs > 0) return manual.after(delayMs, callback);
        waiting.add(callback);
        return () => waiting.delete(callback);
      },
    },
    isWaiting: () => waiting.size > 0,
    runOne() {
      const [next] = waiting;
      if (next === undefined) return false;
      waiting.delete(next);
      next();
      return true;
    },
  };
}

/** Address and health of each endpoint of a cluster, as streams see it. */
export function endpointsOf(push: Push, cluster: string): string[] {
  const { bytes } = push.shared.get(TYPE_URLS.clusterLoadAssignment, cluster) ?? assert.fail(cluster);
  const { endpoints } = fromBinary(ClusterLoadAssignmentSchema, bytes);
  return endpoints.flatMap(({ lbEndpoints }) => lbEndpoints).map(({ hostIdentifier, healthStatus }) => {
    const address = hostIdentifier.case === "endpoint" ? hostIdentifier.value.address?.address : undefined;
    return `${address?.case === "socketAddress" ? address.value.address : ""} ${HealthStatus[healthStatus]}`;
  });
}

/** The addresses that agents answer a name with, as streams see them. */
export function addressesOf(push: Push, name: string): readonly string[] {
  const { bytes } = push.shared.get(TYPE_URLS.nameRecord, name) ?? assert.fail(name);
  return fromBinary(NameRecordSchema, bytes).addresses;
}
