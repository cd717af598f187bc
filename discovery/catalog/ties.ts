import type { RegistryService } from "../registry/registry.ts";
import type { Sameness } from "./sameness.ts";

export interface TieSources {
  readonly sameness: Sameness;
  readonly meshDomain: string;
  /** True for an address that the mesh may have given to any service. */
  readonly isVirtual: (address: string) => boolean;
  /** True for a registry whose services' instances some selector may select. */
  readonly isOpened: (registry: string) => boolean;
}

/**
 * All that a service of a registry has a say in: its own key, that of the
 * service that a rule makes it part of, every name and address that it claims,
 * and instances that selectors of others may see. What two of them say about
 * different things is independent. Undefined for one that may have its say in
 * anything: a wildcard, a virtual address of the mesh that somebody brings along,
 * and a selector that sees a registry which none saw before.
 */
export function createTies({ sameness, meshDomain, isVirtual, isOpened }: TieSources): (registry: string, service: RegistryService) => readonly string[] | undefined {
  const endings = [`.svc.${meshDomain}`, ".svc"];
  /** Names that mean the same for short are one. */
  const short = (name: string): string => {
    const ending = endings.find((one) => name.endsWith(one));
    return ending === undefined ? name : name.slice(0, -ending.length);
  };
  return (registry, service) => {
    const { namespace, name, hostname, aliases, addresses, backends } = service;
    if (hostname.includes("*") || aliases.some((alias) => alias.includes("*")) || addresses.some(isVirtual)) return undefined;
    const place = sameness.placeOf(registry, service);
    // A key reads like the short name of its service.
    const ties = [`${name}.${namespace}`, short(hostname), ...aliases.map(short), ...addresses];
    if (place !== undefined) ties.push(`${place.name}.${place.namespace}`, place.name);
    if (backends.kind === "explicit") {
      if (isOpened(registry)) ties.push(`instances ${registry} ${namespace}`);
    } else {
      for (const seen of backends.registries ?? []) {
        if (!isOpened(seen)) return undefined;
        ties.push(`instances ${seen} ${namespace}`);
      }
    }
    return ties;
  };
}
