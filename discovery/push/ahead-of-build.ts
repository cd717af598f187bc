import type { Service, ServiceKey } from "../../model/service.ts";
import type { TranslatedResource } from "../translate/resource.ts";
import type { AddressedInputs } from "./inputs.ts";
import type { OwnedResources } from "./owned-resources.ts";

/** Resources of services that follow their endpoints. */
export interface AheadOfBuildOptions<Written extends { readonly service: Service }> {
  readonly services: AddressedInputs["services"];
  readonly owned: OwnedResources;
  /** Under which they are a service's. */
  readonly ownerOf: (key: ServiceKey) => string;
  /** What they are now, and what is to be known of that to write them ahead; undefined where they never are. */
  readonly build: (key: ServiceKey) => { readonly resources: readonly TranslatedResource[]; readonly written: Written | undefined };
  /** What they are with the endpoints of now, but for what was written then; undefined where that waits. */
  readonly ahead: (key: ServiceKey, written: Written) => readonly TranslatedResource[] | undefined;
}

/**
 * Keeps such resources up to date. An endpoint that died must not be told of
 * until everything else is built: see `writeAhead`.
 */
export class AheadOfBuild<Written extends { readonly service: Service }> {
  readonly #options: AheadOfBuildOptions<Written>;
  readonly #stale = new Set<ServiceKey>();
  /** Services whose endpoints may be others than those that are written. */
  readonly #moved = new Set<ServiceKey>();
  readonly #built = new Map<ServiceKey, Written | undefined>();
  readonly #written = new Map<ServiceKey, Written>();

  constructor(options: AheadOfBuildOptions<Written>) {
    this.#options = options;
  }

  /** Asks for a service's resources to be built again. */
  request(key: ServiceKey): void {
    this.#stale.add(key);
  }

  /** The service has other endpoints. */
  touch(key: ServiceKey): void {
    this.#stale.add(key);
    this.#moved.add(key);
  }

  isStale(): boolean {
    return this.#stale.size > 0;
  }

  *build(): Generator<void, void> {
    const { owned, ownerOf, build } = this.#options;
    for (const key of this.#stale) {
      this.#stale.delete(key);
      const { resources, written } = build(key);
      this.#built.set(key, written);
      owned.replace(ownerOf(key), resources);
      yield;
    }
  }

  /** To be called when what was built is written. What changed since it was built is to be written ahead again. */
  committed(): void {
    this.#moved.clear();
    for (const key of this.#stale) this.#moved.add(key);
    for (const [key, written] of this.#built) {
      if (written === undefined) this.#written.delete(key);
      else this.#written.set(key, written);
    }
    this.#built.clear();
  }

  /** Writes what became of endpoints since the last commit, for what was written then. A service that changed itself waits. */
  writeAhead(): void {
    const { services, owned, ownerOf, ahead } = this.#options;
    const moved = [...this.#moved];
    this.#moved.clear();
    owned.writeAhead(
      moved.flatMap((key) => {
        const written = this.#written.get(key);
        if (written === undefined || services.get(key) !== written.service) return [];
        const resources = ahead(key, written);
        return resources === undefined ? [] : [[ownerOf(key), resources] as const];
      }),
    );
  }
}
