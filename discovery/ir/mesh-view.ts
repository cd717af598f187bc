import type { ResourceOf } from "../../api/resource.ts";
import type { Endpoint } from "../../model/endpoint.ts";
import type { Service } from "../../model/service.ts";

/**
 * All that the building of one service's IR may read. The push engine hands in
 * a view that records every read, so that a change rebuilds exactly what read it.
 */
export interface MeshView {
  /** By canonical hostname or alias. */
  service(host: string): Service | undefined;
  /** The VirtualService in force for a host of the mesh. */
  virtualService(hostname: string): ResourceOf<"VirtualService"> | undefined;
  /** The DestinationRule in force for a host. */
  destinationRule(hostname: string): ResourceOf<"DestinationRule"> | undefined;
  /** The domains that a service owns in the route table of a port. */
  domains(hostname: string, port: number): readonly string[];
  /** SPIFFE IDs that may answer for a service, sorted. */
  identities(hostname: string): readonly string[];
  /** The endpoints of a service that Envoy resolves by DNS; they travel inside its clusters. */
  dnsEndpoints(hostname: string): readonly Endpoint[];
  /** PEM by trust domain. */
  trustBundles(): Readonly<Record<string, string>>;
  readonly meshDomain: string;
  /** Ranges that virtual addresses are taken from. */
  readonly vipRanges: readonly string[];
}
