import { CodedError } from "../coded-error.ts";

/** The status codes of gRPC (https://grpc.github.io/grpc/core/md_doc_statuscodes.html). */
export const GRPC_STATUS = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const;

export type GrpcStatusName = keyof typeof GRPC_STATUS;

const NAMES: readonly string[] = Object.keys(GRPC_STATUS);

/** The name of a status number; `UNKNOWN` for one that the specification does not have. */
export function grpcStatusName(code: number): GrpcStatusName {
  return (NAMES[code] ?? "UNKNOWN") as GrpcStatusName;
}

/** How a call ended. */
export interface GrpcStatus {
  readonly code: GrpcStatusName;
  /** In the words of whoever ended it; empty for OK. */
  readonly message: string;
}

/**
 * A call that ended with another status than OK. A handler throws it to give
 * its caller that status; a client gets it from `unary` and from a stream.
 */
export class GrpcError extends CodedError {
  readonly status: GrpcStatusName;

  constructor(status: GrpcStatusName, message: string, cause?: unknown) {
    super("MESH_GRPC_STATUS", message, { facts: { status }, ...(cause === undefined ? {} : { cause }) });
    this.name = "GrpcError";
    this.status = status;
  }
}

const KEPT_BYTES = /[^\x20-\x24\x26-\x7e]/gu;

/** Percent-encodes a status message for the `grpc-message` trailer. */
export function encodeGrpcMessage(message: string): string {
  return message.replace(KEPT_BYTES, (character) =>
    [...Buffer.from(character, "utf8")].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`).join(""),
  );
}

/** Undoes `encodeGrpcMessage`; text that is not well formed is given as it came. */
export function decodeGrpcMessage(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** The status that stands for an HTTP status of something that does not speak gRPC (a proxy's error page). */
export function grpcStatusOfHttp(httpStatus: number): GrpcStatusName {
  switch (httpStatus) {
    case 400:
      return "INTERNAL";
    case 401:
      return "UNAUTHENTICATED";
    case 403:
      return "PERMISSION_DENIED";
    case 404:
      return "UNIMPLEMENTED";
    case 429:
    case 502:
    case 503:
    case 504:
      return "UNAVAILABLE";
    default:
      return "UNKNOWN";
  }
}
