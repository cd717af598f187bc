import type {
  ListenerFilterChainMatchPredicateSchema,
  ListenerFilterSchema,
} from "../../proto/gen/envoy/config/listener/v3/listener_components_pb.js";
import { HttpInspectorSchema } from "../../proto/gen/envoy/extensions/filters/listener/http_inspector/v3/http_inspector_pb.js";
import { OriginalDstSchema } from "../../proto/gen/envoy/extensions/filters/listener/original_dst/v3/original_dst_pb.js";
import { TlsInspectorSchema } from "../../proto/gen/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector_pb.js";
import { type Init, pack } from "./resource.ts";

/**
 * How long a client may say nothing before it is taken for one of a protocol in
 * which the server speaks first. The same for all listeners at all times,
 * because a change of it would end every connection.
 */
export const SILENT_CLIENT_MS = 2_000;

type ListenerFilterInit = Init<typeof ListenerFilterSchema>;
type PredicateInit = Init<typeof ListenerFilterChainMatchPredicateSchema>;

/** Original destination ports that a filter looks at. */
type InspectedPorts = { readonly only: readonly number[] } | { readonly allBut: readonly number[] };

/** Restores where a captured connection was going. */
export function originalDstFilter(): ListenerFilterInit {
  return {
    name: "envoy.filters.listener.original_dst",
    configType: { case: "typedConfig", value: pack(OriginalDstSchema, {}) },
  };
}

/**
 * Tells TLS from plain and reads the SNI. It waits for the client's first bytes,
 * which a client of a server-first protocol (MySQL, SMTP) never sends first: so
 * it looks at some original ports only, or at all but some.
 */
export function tlsInspectorFilter(ports: InspectedPorts): ListenerFilterInit {
  return {
    name: "envoy.filters.listener.tls_inspector",
    configType: { case: "typedConfig", value: pack(TlsInspectorSchema, {}) },
    filterDisabled: allButInspected(ports),
  };
}

/** Tells HTTP from what is not. It waits for the client's first bytes too. */
export function httpInspectorFilter(ports: InspectedPorts): ListenerFilterInit {
  return {
    name: "envoy.filters.listener.http_inspector",
    configType: { case: "typedConfig", value: pack(HttpInspectorSchema, {}) },
    filterDisabled: allButInspected(ports),
  };
}

function allButInspected(ports: InspectedPorts): PredicateInit {
  const isOnly = "only" in ports;
  const listed = [...new Set(isOnly ? ports.only : ports.allBut)].sort((left, right) => left - right);
  const matched: PredicateInit = listed.length === 0 ? { rule: { case: "notMatch", value: ANY } } : anyPort(listed);
  return isOnly ? { rule: { case: "notMatch", value: matched } } : matched;
}

const ANY: PredicateInit = { rule: { case: "anyMatch", value: true } };

function anyPort(ports: readonly number[]): PredicateInit {
  const rules = ports.map((port): PredicateInit => ({ rule: { case: "destinationPortRange", value: { start: port, end: port + 1 } } }));
  const [only] = rules;
  return rules.length === 1 && only !== undefined ? only : { rule: { case: "orMatch", value: { rules } } };
}
