import type { Service, ServiceKey } from "../../model/service.ts";
import { AheadOfBuild } from "./ahead-of-build.ts";
import type { AddressedInputs } from "./inputs.ts";
import { nameRecords, namesFollowEndpoints, ownedAliases, recordByEndpoints } from "./name-records.ts";
import type { OwnedResources } from "./owned-resources.ts";

type NameInputs = Pick<AddressedInputs, "services" | "endpoints" | "names"> & { readonly settings: Pick<AddressedInputs["settings"], "meshDomain"> };

/** Of a service whose names follow its endpoints: whom a record speaks of, and what else it is called there. */
interface Named {
  readonly service: Service;
  readonly aliases: readonly string[];
}

/**
 * Keeps the name records of services up to date. Of those that are written
 * ahead, names that changed hands wait; where no endpoint is left, the record has
 * no address until it goes.
 */
export function createNamePush({ services, endpoints, names, settings: { meshDomain } }: NameInputs, owned: OwnedResources): AheadOfBuild<Named> {
  const ownerOf = (name: string): ServiceKey | undefined => names.ownerOf(name);
  return new AheadOfBuild<Named>({
    services,
    owned,
    ownerOf: (key) => `names ${key}`,
    build(key) {
      const service = services.get(key);
      const resources = service === undefined ? [] : nameRecords(service, { meshDomain, ownerOf, endpoints: endpoints.get(key) });
      const follows = service !== undefined && resources.length > 0 && namesFollowEndpoints(service, meshDomain);
      return { resources, written: follows ? { service, aliases: ownedAliases(service, ownerOf) } : undefined };
    },
    ahead: (key, { service, aliases }) => [recordByEndpoints(service, aliases, endpoints.get(key) ?? [])],
  });
}
