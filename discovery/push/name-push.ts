import type { Service, ServiceKey } from "../../model/service.ts";
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
 * Keeps the name records of services up to date. A name must not answer with
 * the address of an endpoint that died until everything else is built: see
 * `writeAhead`.
 */
export class NamePush {
  readonly #inputs: NameInputs;
  readonly #owned: OwnedResources;
  readonly #stale = new Set<ServiceKey>();
  /** Services whose names may have other addresses than those that are written. */
  readonly #moved = new Set<ServiceKey>();
  readonly #built = new Map<ServiceKey, Named | undefined>();
  readonly #written = new Map<ServiceKey, Named>();

  constructor(inputs: NameInputs, owned: OwnedResources) {
    this.#inputs = inputs;
    this.#owned = owned;
  }

  /** Asks for a service's names to be built again. */
  request(key: ServiceKey): void {
    this.#stale.add(key);
  }

  /** The service has other endpoints. */
  touchEndpoints(key: ServiceKey): void {
    const service = this.#inputs.services.get(key);
    if (service === undefined || !namesFollowEndpoints(service, this.#inputs.settings.meshDomain)) return;
    this.#stale.add(key);
    this.#moved.add(key);
  }

  isStale(): boolean {
    return this.#stale.size > 0;
  }

  *build(): Generator<void, void> {
    const { services, endpoints, names, settings } = this.#inputs;
    const ownerOf = (name: string): ServiceKey | undefined => names.ownerOf(name);
    for (const key of this.#stale) {
      this.#stale.delete(key);
      const service = services.get(key);
      const records = service === undefined ? [] : nameRecords(service, { meshDomain: settings.meshDomain, ownerOf, endpoints: endpoints.get(key) });
      const follows = service !== undefined && records.length > 0 && namesFollowEndpoints(service, settings.meshDomain);
      this.#built.set(key, follows ? { service, aliases: ownedAliases(service, ownerOf) } : undefined);
      this.#owned.replace(ownerOfNames(key), records);
      yield;
    }
  }

  /** To be called when what was built is written. What changed since it was built is to be written ahead again. */
  committed(): void {
    this.#moved.clear();
    for (const key of this.#stale) this.#moved.add(key);
    for (const [key, named] of this.#built) {
      if (named === undefined) this.#written.delete(key);
      else this.#written.set(key, named);
    }
    this.#built.clear();
  }

  /**
   * Writes which addresses names have since the last commit, for the records as
   * they were written then: names that changed hands wait, and so does a service
   * that changed itself. Where no endpoint is left, the record has no address
   * until it goes.
   */
  writeAhead(): void {
    const moved = [...this.#moved];
    this.#moved.clear();
    this.#owned.writeAhead(
      moved.flatMap((key) => {
        const named = this.#written.get(key);
        if (named === undefined || this.#inputs.services.get(key) !== named.service) return [];
        return [[ownerOfNames(key), [recordByEndpoints(named.service, named.aliases, this.#inputs.endpoints.get(key) ?? [])]] as const];
      }),
    );
  }
}

function ownerOfNames(key: ServiceKey): string {
  return `names ${key}`;
}
