import { serviceKey, type ServiceKey } from "../../model/service.ts";
import type { RegistryService } from "../registry/registry.ts";
import type { Sameness, SamenessPlace } from "./sameness.ts";

/** One registry's word that a service is its own. */
export interface Claim {
  /** Unique among all claims: the registry's place and its own id of the service. */
  readonly id: string;
  readonly registry: string;
  /** Of the registry; 0 goes first. */
  readonly precedence: number;
  readonly service: RegistryService;
  /** Where a rule puts it; undefined where none is about it. */
  readonly place?: SamenessPlace;
}

/** Everybody who claims one service. */
export interface Claimants {
  /** Those that are the service, the one with precedence first; several only where a rule says so. */
  readonly members: readonly Claim[];
  /** Those that would be it too, and that nobody has asked for: they get no traffic. */
  readonly pending: readonly Claim[];
}

const NOBODY: Claimants = { members: [], pending: [] };

/** Who claims which service. A claim that a rule is about counts for the joined service alone. */
export class Claims {
  readonly #sameness: Sameness;
  readonly #byKey = new Map<ServiceKey, Map<string, Claim>>();
  readonly #settled = new Map<ServiceKey, Claimants>();
  /** How many claims have the key as their own, wherever rules put them. */
  readonly #own = new Map<ServiceKey, number>();

  constructor(sameness: Sameness) {
    this.#sameness = sameness;
  }

  /** The claim with its place, and the key of the service that it is about. */
  place(claim: Omit<Claim, "place">): { readonly key: ServiceKey; readonly claim: Claim } {
    const place = this.#sameness.placeOf(claim.registry, claim.service);
    return place === undefined ? { key: serviceKey(claim.service), claim } : { key: serviceKey(place), claim: { ...claim, place } };
  }

  add(key: ServiceKey, claim: Claim): void {
    const held = this.#byKey.get(key) ?? new Map<string, Claim>();
    this.#byKey.set(key, held.set(claim.id, claim));
    this.#settled.delete(key);
    this.#count(serviceKey(claim.service), 1);
  }

  remove(key: ServiceKey, id: string): void {
    const held = this.#byKey.get(key);
    const claim = held?.get(id);
    if (claim !== undefined) this.#count(serviceKey(claim.service), -1);
    held?.delete(id);
    if (held?.size === 0) this.#byKey.delete(key);
    this.#settled.delete(key);
  }

  /** True while the service is there, or was joined into another one. */
  isClaimed(key: ServiceKey): boolean {
    return this.#byKey.has(key) || this.#own.has(key);
  }

  #count(own: ServiceKey, change: number): void {
    const count = (this.#own.get(own) ?? 0) + change;
    if (count === 0) this.#own.delete(own);
    else this.#own.set(own, count);
  }

  of(key: ServiceKey): Claimants {
    const known = this.#settled.get(key);
    if (known !== undefined) return known;
    const held = this.#byKey.get(key);
    if (held === undefined) return NOBODY;
    const claimants = settle([...held.values()].sort(byPrecedence));
    this.#settled.set(key, claimants);
    return claimants;
  }
}

/** A service that a rule joins is made of the rule's members only, one claim for each; any other of its first claim. */
function settle(sorted: readonly Claim[]): Claimants {
  const members: Claim[] = [];
  const pending: Claim[] = [];
  for (const claim of sorted) {
    const [first] = members;
    const isMember =
      first === undefined ||
      (first.place !== undefined && claim.place !== undefined && !members.some(({ place }) => place?.rule === claim.place?.rule && place?.member === claim.place?.member));
    (isMember ? members : pending).push(claim);
  }
  return { members, pending };
}

function byPrecedence(left: Claim, right: Claim): number {
  return (
    Number(left.place === undefined) - Number(right.place === undefined) ||
    (left.place?.rule ?? 0) - (right.place?.rule ?? 0) ||
    (left.place?.member ?? 0) - (right.place?.member ?? 0) ||
    left.precedence - right.precedence ||
    (left.id < right.id ? -1 : 1)
  );
}
