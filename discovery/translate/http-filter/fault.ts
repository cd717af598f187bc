import type { FaultDelaySchema } from "../../../proto/gen/envoy/extensions/filters/common/fault/v3/fault_pb.js";
import { type FaultAbortSchema, HTTPFaultSchema } from "../../../proto/gen/envoy/extensions/filters/http/fault/v3/fault_pb.js";
import type { FaultIr } from "../../ir/route.ts";
import { duration } from "../duration.ts";
import { fractionalPercent } from "../fractional-percent.ts";
import { type Init, pack } from "../resource.ts";
import type { HttpFilterTranslation } from "./http-filter.ts";

/** Delays and aborts requests on routes with a `fault`, at the caller's side. */
export const FAULT: HttpFilterTranslation = {
  name: "envoy.filters.http.fault",
  outbound: () => pack(HTTPFaultSchema, {}),
  outboundRoute: ({ fault }) =>
    fault === undefined ? undefined : pack(HTTPFaultSchema, { delay: delay(fault), abort: abort(fault) }),
};

function delay({ delay }: FaultIr): Init<typeof FaultDelaySchema> | undefined {
  if (delay === undefined) return undefined;
  return {
    faultDelaySecifier: { case: "fixedDelay", value: duration(delay.fixedDelayMs) },
    percentage: fractionalPercent(delay.percentage),
  };
}

function abort({ abort }: FaultIr): Init<typeof FaultAbortSchema> | undefined {
  if (abort === undefined) return undefined;
  return {
    errorType:
      "grpcStatus" in abort
        ? { case: "grpcStatus", value: abort.grpcStatus }
        : { case: "httpStatus", value: abort.httpStatus },
    percentage: fractionalPercent(abort.percentage),
  };
}
