import { HeaderValueOption_HeaderAppendAction as Append, type HeaderValueOptionSchema } from "../../proto/gen/envoy/config/core/v3/base_pb.js";
import type { HeaderChangesIr, HeaderOperationsIr } from "../ir/route.ts";
import { type Init, sortedByKey } from "./resource.ts";

type HeaderInit = Init<typeof HeaderValueOptionSchema>;

/** The four fields that routes and weighted clusters have in common. */
export interface HeaderFields {
  readonly requestHeadersToAdd: HeaderInit[];
  readonly requestHeadersToRemove: string[];
  readonly responseHeadersToAdd: HeaderInit[];
  readonly responseHeadersToRemove: string[];
}

export function headerFields({ request, response }: HeaderOperationsIr): HeaderFields {
  return {
    requestHeadersToAdd: additions(request),
    requestHeadersToRemove: request.remove.toSorted(),
    responseHeadersToAdd: additions(response),
    responseHeadersToRemove: response.remove.toSorted(),
  };
}

export function hasHeaderChanges({ request, response }: HeaderOperationsIr): boolean {
  return [request, response].some((changes) => additions(changes).length + changes.remove.length > 0);
}

function additions({ set, add }: HeaderChangesIr): HeaderInit[] {
  return [...options(set, Append.OVERWRITE_IF_EXISTS_OR_ADD), ...options(add, Append.APPEND_IF_EXISTS_OR_ADD)];
}

function options(headers: Readonly<Record<string, string>>, appendAction: Append): HeaderInit[] {
  return Object.entries(sortedByKey(headers)).map(([key, value]) => ({
    header: { key, value: escapeFormat(value) },
    appendAction,
  }));
}

/**
 * Envoy reads `%…%` in a value as an operator, and Istio lets users write
 * those; a lone percent sign would reject the route, so it is doubled.
 */
function escapeFormat(value: string): string {
  return value.replaceAll(/%[A-Z0-9_]+(?:\([^)]*\))?(?::\d+)?%|%%|%/g, (token) => (token === "%" ? "%%" : token));
}
