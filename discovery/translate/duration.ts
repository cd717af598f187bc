import { type Duration, durationFromMs } from "@bufbuild/protobuf/wkt";

/** Milliseconds as protobuf writes them; undefined stays away. */
export function duration(milliseconds: number): Duration {
  return durationFromMs(milliseconds);
}

export function optionalDuration(milliseconds: number | undefined): Duration | undefined {
  return milliseconds === undefined ? undefined : durationFromMs(milliseconds);
}
