import type {
  ListenerFilterChainMatchPredicateSchema,
  ListenerFilterSchema,
} from "../../proto/gen/envoy/config/listener/v3/listener_components_pb.js";
import { OriginalDstSchema } from "../../proto/gen/envoy/extensions/filters/listener/original_dst/v3/original_dst_pb.js";
import { TlsInspectorSchema } from "../../proto/gen/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector_pb.js";
import { type Init, pack } from "./resource.ts";

type ListenerFilterInit = Init<typeof ListenerFilterSchema>;
type PredicateInit = Init<typeof ListenerFilterChainMatchPredicateSchema>;

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
export function tlsInspectorFilter(ports: { readonly only: readonly number[] } | { readonly allBut: readonly number[] }): ListenerFilterInit {
  const isOnly = "only" in ports;
  const listed = [...new Set(isOnly ? ports.only : ports.allBut)].sort((left, right) => left - right);
  const matched: PredicateInit = listed.length === 0 ? { rule: { case: "notMatch", value: ANY } } : anyPort(listed);
  return {
    name: "envoy.filters.listener.tls_inspector",
    configType: { case: "typedConfig", value: pack(TlsInspectorSchema, {}) },
    filterDisabled: isOnly ? { rule: { case: "notMatch", value: matched } } : matched,
  };
}

const ANY: PredicateInit = { rule: { case: "anyMatch", value: true } };

function anyPort(ports: readonly number[]): PredicateInit {
  const rules = ports.map((port): PredicateInit => ({ rule: { case: "destinationPortRange", value: { start: port, end: port + 1 } } }));
  const [only] = rules;
  return rules.length === 1 && only !== undefined ? only : { rule: { case: "orMatch", value: { rules } } };
}
