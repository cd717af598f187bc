import type { Problem } from "./finding.ts";
import { nearestName } from "../base/suggestion.ts";

/** Source: envoyproxy.io, router filter, x-envoy-retry-on and x-envoy-retry-grpc-on. */
const CONDITIONS: readonly string[] = [
  "5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "envoy-ratelimited", "retriable-4xx", "refused-stream",
  "retriable-status-codes", "retriable-headers", "http3-post-connect-failure",
  "cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable",
];

/** What is retried, as Envoy takes it. */
export interface RetryOn {
  readonly conditions: readonly string[];
  readonly statusCodes: readonly number[];
}

/** Reads Istio's list of Envoy's words and status codes: `5xx,reset,409`. */
export function parseRetryOn(written: string): RetryOn {
  const parts = written.split(",").map((part) => part.trim()).filter((part) => part !== "");
  const statusCodes = parts.filter((part) => /^\d+$/.test(part)).map(Number);
  const conditions = parts.filter((part) => !/^\d+$/.test(part));
  const isImplied = statusCodes.length > 0 && !conditions.includes("retriable-status-codes");
  return { conditions: isImplied ? [...conditions, "retriable-status-codes"] : conditions, statusCodes };
}

export function retryOnProblem(written: string): Problem | undefined {
  const { conditions, statusCodes } = parseRetryOn(written);
  if (conditions.length === 0) return { code: "IM0128", message: "names nothing to retry on" };
  const unknown = conditions.find((condition) => !CONDITIONS.includes(condition));
  if (unknown !== undefined) {
    const nearest = nearestName(unknown, CONDITIONS);
    return { code: "IM0113", message: `unknown retry condition ${JSON.stringify(unknown)}`, remedy: nearest === undefined ? `known: ${CONDITIONS.join(", ")}` : `did you mean ${nearest}?` };
  }
  const code = statusCodes.find((status) => status < 100 || status > 599);
  return code === undefined ? undefined : { code: "IM0121", message: `${code} is not an HTTP status` };
}
