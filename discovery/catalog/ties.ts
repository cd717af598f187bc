import { serviceKey, type ServiceKey } from "../../model/service.ts";
import type { RegistryService } from "../registry/registry.ts";
import type { Claim } from "./claims.ts";
import type { Arrival } from "./intake.ts";
import type { Sameness, SamenessPlace } from "./sameness.ts";

export interface TieSources {
  readonly sameness: Sameness;
  readonly meshDomain: string;
  /** True for an address that the mesh may have given to any service. */
  readonly isVirtual: (address: string) => boolean;
  /** True for a registry whose services' instances some selector may select. */
  readonly isOpened: (registry: string) => boolean;
  /** Everybody in the catalog who claims the service. */
  readonly claimsOf: (key: ServiceKey) => readonly Claim[];
}

/** Of which registry a service is, and which of its. */
type Whose = Pick<Arrival, "id" | "registry">;

/**
 * All that a service of a registry has a say in: its own key, that of the
 * service that a rule makes it part of, every name and address that it claims,
 * instances that selectors of others may see, and all of that which others have
 * who claim the same service: they may lose it, or gain. What two of them say about
 * different things is independent. Undefined for one that may have its say in
 * anything: a wildcard, a virtual address of the mesh that somebody brings along,
 * and a selector that sees a registry which none saw before.
 */
export function createTies({ sameness, meshDomain, isVirtual, isOpened, claimsOf }: TieSources): (whose: Whose, service: RegistryService) => readonly string[] | undefined {
  const ending = `.svc.${meshDomain}`;
  /** Names that mean the same for short are one; also of a namespace that is called `svc`. */
  const short = (name: string): string => (name.endsWith(ending) ? name.slice(0, -ending.length) : name).replace(/(\.svc)+$/, "");
  const ownTies = (registry: string, service: RegistryService, place: SamenessPlace | undefined): string[] | undefined => {
    const { namespace, name, hostname, aliases, addresses, backends } = service;
    if (hostname.includes("*") || aliases.some((alias) => alias.includes("*")) || addresses.some(isVirtual)) return undefined;
    // A key reads like the short name of its service.
    const ties = [short(`${name}.${namespace}`), short(hostname), ...aliases.map(short), ...addresses];
    if (place !== undefined) {
      ties.push(short(`${place.name}.${place.namespace}`));
      // Somebody's host, which is the joined service's own name. Others are called alike in each namespace.
      if (place.name.includes(".")) ties.push(short(place.name));
    }
    if (backends.kind === "explicit") {
      // A name of a service of another namespace has its instances, which are of that one.
      if (isOpened(registry)) for (const seen of new Set(backends.workloads.map((workload) => workload.namespace))) ties.push(`instances ${registry} ${seen}`);
    } else {
      for (const seen of backends.registries ?? []) {
        if (!isOpened(seen)) return undefined;
        ties.push(`instances ${seen} ${namespace}`);
      }
    }
    return ties;
  };
  return ({ id, registry }, service) => {
    const place = sameness.placeOf(registry, service);
    const ties = ownTies(registry, service, place);
    for (const other of claimsOf(serviceKey(place ?? service))) {
      if (ties === undefined) break;
      const others = other.id === id ? [] : ownTies(other.registry, other.service, other.place);
      if (others === undefined) return undefined;
      ties.push(...others);
    }
    return ties;
  };
}
