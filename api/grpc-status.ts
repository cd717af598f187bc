import type { Problem } from "./finding.ts";
import { nearestName } from "../base/suggestion.ts";

/** By number. Source: grpc.github.io/grpc/core/md_doc_statuscodes.html */
const STATUSES: readonly string[] = [
  "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
  "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS",
  "UNAUTHENTICATED",
];

/** The number of a status that is written by name or number; undefined for anything else. */
export function grpcStatusNumber(written: string): number | undefined {
  const number = /^\d{1,2}$/.test(written) ? Number(written) : STATUSES.indexOf(written);
  return number >= 0 && number < STATUSES.length ? number : undefined;
}

export function grpcStatusProblem(written: string): Problem | undefined {
  if (grpcStatusNumber(written) !== undefined) return undefined;
  const nearest = nearestName(written, STATUSES);
  return { code: "IM0113", message: `unknown gRPC status ${JSON.stringify(written)}`, ...(nearest === undefined ? {} : { remedy: `did you mean ${nearest}?` }) };
}
