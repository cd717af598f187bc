import type { ServicePort } from "./port.ts";
import type { Source } from "./source.ts";

/** `NAMESPACE/NAME`. */
export type ServiceKey = string;

/** How a service's endpoints are found. */
export type Resolution =
  /** From workloads, by registry or selector. */
  | "static"
  /** Endpoint addresses are DNS names that Envoy resolves. */
  | "dns"
  /** The address that the caller dialed. */
  | "passthrough";

/**
 * One service of the normalized catalog, whatever registry it comes from.
 * Invariant: `hostname` is unique in a catalog and equals `aliases[…]` of no other service.
 */
export interface Service {
  readonly namespace: string;
  readonly name: string;
  /** `<name>.<namespace>.svc.<mesh domain>`, or the host of a ServiceEntry; lower case. */
  readonly hostname: string;
  /** Further names that it may be called by, most specific first. */
  readonly aliases: readonly string[];
  /** Sorted by number. */
  readonly ports: readonly ServicePort[];
  readonly resolution: Resolution;
  /** Outside of the mesh: endpoints have no identity and may be reached as plain. */
  readonly external: boolean;
  /** Virtual addresses, IPv4 first; empty until allocated. */
  readonly vips: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  /** Authoritative SPIFFE IDs or DNS names of its endpoints; empty: those of its workloads' service accounts. */
  readonly subjectAltNames: readonly string[];
  /** Namespaces that see it: `*`, `.` (its own) or names. */
  readonly exportTo: readonly string[];
  readonly source: Source;
}

export function serviceKey(service: Pick<Service, "namespace" | "name">): ServiceKey {
  return `${service.namespace}/${service.name}`;
}
