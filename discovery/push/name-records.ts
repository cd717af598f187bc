import { create } from "@bufbuild/protobuf";
import { familyOf } from "../../model/address.ts";
import type { Endpoint } from "../../model/endpoint.ts";
import { type Service, serviceKey, type ServiceKey } from "../../model/service.ts";
import { NameRecordSchema } from "../../proto/gen/ironmesh/agent/v1/agent_pb.js";
import { translated, type TranslatedResource } from "../translate/resource.ts";

export interface NameSources {
  readonly meshDomain: string;
  readonly ownerOf: (name: string) => ServiceKey | undefined;
  readonly endpoints: readonly Endpoint[] | undefined;
}

/** A resolver that is asked for a name wants a few addresses, not a fleet. */
const MAX_ENDPOINT_ADDRESSES = 16;

/**
 * The names that agents answer for a service: one of the mesh's domain with its
 * virtual addresses, and the native names that it owns beside it. A host that
 * somebody declared has the addresses that came with the declaration, else
 * those of its endpoints; agents give them only where the host's own resolvers
 * know none. What Envoy resolves by DNS, or passes through, is looked up there alone.
 */
export function nameRecords(service: Service, sources: NameSources): TranslatedResource[] {
  const { hostname } = service;
  const isOurs = hostname.endsWith(`.${sources.meshDomain}`);
  const addresses = service.vips.length > 0 || isOurs || service.resolution !== "static" ? service.vips : endpointAddresses(sources.endpoints ?? []);
  if (addresses.length === 0 || hostname.includes("*")) return [];
  return [recordOf(service, ownedAliases(service, sources.ownerOf), addresses)];
}

/** The native names that a record speaks of. */
export function ownedAliases(service: Service, ownerOf: NameSources["ownerOf"]): string[] {
  const key = serviceKey(service);
  return service.aliases.filter((alias) => !alias.includes("*") && ownerOf(alias) === key);
}

/** The record of a service whose names follow its endpoints, also where it has none. */
export function recordByEndpoints(service: Service, aliases: readonly string[], endpoints: readonly Endpoint[]): TranslatedResource {
  return recordOf(service, aliases, endpointAddresses(endpoints));
}

function recordOf({ hostname, ports }: Service, aliases: readonly string[], addresses: readonly string[]): TranslatedResource {
  const record = create(NameRecordSchema, {
    name: hostname,
    addresses: [...addresses],
    aliases: [...aliases],
    ports: ports.map(({ name, number, protocol }) => ({ name, number, protocol })),
  });
  return translated(NameRecordSchema, hostname, record);
}

/** True where a service's names depend on its endpoints. */
export function namesFollowEndpoints(service: Service, meshDomain: string): boolean {
  return service.vips.length === 0 && service.resolution === "static" && !service.hostname.endsWith(`.${meshDomain}`);
}

/** Of those that may be called; of all, where none may. Sorted. */
function endpointAddresses(endpoints: readonly Endpoint[]): string[] {
  const healthy = endpoints.filter(({ health }) => health === "healthy");
  const addresses = (healthy.length > 0 ? healthy : endpoints).flatMap(({ address, additionalAddresses = [] }) => [address, ...additionalAddresses]);
  return [...new Set(addresses.filter((address) => familyOf(address) !== undefined))].sort().slice(0, MAX_ENDPOINT_ADDRESSES);
}
