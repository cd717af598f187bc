import { FractionalPercent_DenominatorType, type FractionalPercentSchema } from "../../proto/gen/envoy/type/v3/percent_pb.js";
import type { Init } from "./resource.ts";

/** 0 to 100, to four decimals. */
export function fractionalPercent(percentage: number): Init<typeof FractionalPercentSchema> {
  return { numerator: Math.round(percentage * 10_000), denominator: FractionalPercent_DenominatorType.MILLION };
}
