import { decimal, object, required } from "./schema.ts";

/** Istio's Percent: `{value: 12.5}`. */
export const percentage = object({ value: required(decimal(0, 100)) });

interface WrittenPercentage {
  readonly value?: number;
}

/** Share of requests that a fault hits: none where nothing is written, as in Istio. */
export function faultPercentage(written: WrittenPercentage | undefined): number {
  return written?.value ?? 0;
}

/** Share of requests that are mirrored: all where nothing is written, as in Istio. */
export function mirrorPercentage(written: WrittenPercentage | undefined): number {
  return written === undefined ? 100 : (written.value ?? 0);
}
