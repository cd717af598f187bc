import type { ResourceOf } from "../../api/resource.ts";
import type { Endpoint } from "../../model/endpoint.ts";
import type { Service, ServiceKey } from "../../model/service.ts";
import { buildEndpoints } from "../ir/build-endpoints.ts";
import { translateEndpoints } from "../translate/endpoints.ts";
import type { TranslatedResource } from "../translate/resource.ts";
import type { AddressedInputs } from "./inputs.ts";
import type { OwnedResources } from "./owned-resources.ts";

type Rule = ResourceOf<"DestinationRule"> | undefined;

/** What clusters are there, as far as load assignments are concerned. */
interface Clusters {
  readonly service: Service;
  readonly rule: Rule;
  /** Whom they take. */
  readonly identities: ReadonlySet<string>;
}

/**
 * Keeps the load assignments of services up to date. An endpoint that died must
 * not take traffic until everything else is built: see `writeAhead`.
 */
export class EndpointPush {
  readonly #inputs: Pick<AddressedInputs, "services" | "endpoints">;
  readonly #owned: OwnedResources;
  readonly #ruleOf: (service: Service) => Rule;
  readonly #stale = new Set<ServiceKey>();
  /** Services whose endpoints may be others than those that are written. */
  readonly #moved = new Set<ServiceKey>();
  readonly #built = new Map<ServiceKey, Clusters | undefined>();
  readonly #written = new Map<ServiceKey, Clusters>();

  constructor(inputs: Pick<AddressedInputs, "services" | "endpoints">, owned: OwnedResources, ruleOf: (service: Service) => Rule) {
    this.#inputs = inputs;
    this.#owned = owned;
    this.#ruleOf = ruleOf;
  }

  /** Asks for a service's load assignments to be built again. */
  request(key: ServiceKey): void {
    this.#stale.add(key);
  }

  touch(key: ServiceKey): void {
    this.#stale.add(key);
    this.#moved.add(key);
  }

  isStale(): boolean {
    return this.#stale.size > 0;
  }

  *build(): Generator<void, void> {
    for (const key of this.#stale) {
      this.#stale.delete(key);
      const clusters = this.#clustersOf(key);
      this.#built.set(key, clusters);
      // A service without endpoints has an empty assignment: Envoy keeps a cluster cold until it has one.
      this.#owned.replace(ownerOf(key), clusters === undefined ? [] : assignments(clusters, this.#endpointsOf(key)));
      yield;
    }
  }

  /** To be called when what was built is written. What changed since it was built is to be written ahead again. */
  committed(): void {
    this.#moved.clear();
    for (const key of this.#stale) this.#moved.add(key);
    for (const [key, clusters] of this.#built) {
      if (clusters === undefined) this.#written.delete(key);
      else this.#written.set(key, clusters);
    }
    this.#built.clear();
  }

  /**
   * Writes what became of endpoints since the last commit, for the clusters as
   * they were written then. An endpoint whose identity these do not take waits
   * for those that do, and so does a service that changed itself.
   */
  writeAhead(): void {
    const moved = [...this.#moved];
    this.#moved.clear();
    this.#owned.writeAhead(
      moved.flatMap((key) => {
        const clusters = this.#written.get(key);
        if (clusters === undefined || this.#inputs.services.get(key) !== clusters.service) return [];
        const all = this.#endpointsOf(key);
        const taken = all.filter(({ identity }) => identity === undefined || clusters.identities.has(identity));
        // While all that there will be waits, those of before may still serve.
        return taken.length === 0 && all.length > 0 ? [] : [[ownerOf(key), assignments(clusters, taken)] as const];
      }),
    );
  }

  #clustersOf(key: ServiceKey): Clusters | undefined {
    const service = this.#inputs.services.get(key);
    if (service === undefined || service.resolution !== "static") return undefined;
    return { service, rule: this.#ruleOf(service), identities: new Set(this.#endpointsOf(key).flatMap(({ identity }) => identity ?? [])) };
  }

  #endpointsOf(key: ServiceKey): readonly Endpoint[] {
    return this.#inputs.endpoints.get(key) ?? [];
  }
}

function ownerOf(key: ServiceKey): string {
  return `endpoints ${key}`;
}

function assignments({ service, rule }: Clusters, endpoints: readonly Endpoint[]): TranslatedResource[] {
  return buildEndpoints(service, endpoints, rule).map(translateEndpoints);
}
