/** An address in a network: `<network> <address>`; in each there is one host at most. */
export type Place = string;

export function placeOf(network: string, address: string): Place {
  return `${network} ${address}`;
}

/**
 * Which host is at which address. The one that said so first keeps it for as
 * long as it is there: what a host reports must never take the traffic of
 * another one, or decide about its health. A host that is gone yields to one
 * that is not.
 */
export class AddressClaims {
  readonly #holders = new Map<Place, string>();
  readonly #held = new Map<string, ReadonlySet<Place>>();
  /** Hosts that were refused a place, and may have it when its holder leaves. */
  readonly #waiting = new Map<Place, Set<string>>();
  readonly #isGone: (hostId: string) => boolean;

  constructor(isGone: (hostId: string) => boolean) {
    this.#isGone = isGone;
  }

  /** The host that keeps this one from a place; it is asked again when that changes. */
  rivalOf(hostId: string, place: Place): string | undefined {
    const holder = this.#holders.get(place);
    if (holder === undefined || holder === hostId || (this.#isGone(holder) && !this.#isGone(hostId))) return undefined;
    const waiting = this.#waiting.get(place);
    if (waiting === undefined) this.#waiting.set(place, new Set([hostId]));
    else waiting.add(hostId);
    return holder;
  }

  /** The places that a host has. */
  heldBy(hostId: string): ReadonlySet<Place> {
    return this.#held.get(hostId) ?? NONE;
  }

  /**
   * Makes these all that a host has.
   *
   * @returns the hosts to judge again: those that lost a place, and those that waited for one
   */
  settle(hostId: string, places: ReadonlySet<Place>): Set<string> {
    const affected = new Set<string>();
    for (const place of this.heldBy(hostId)) {
      if (places.has(place)) continue;
      this.#holders.delete(place);
      this.#wake(place, affected);
    }
    for (const place of places) {
      const before = this.#holders.get(place);
      if (before === hostId) continue;
      if (before !== undefined) {
        affected.add(before);
        this.#held.set(before, new Set([...this.heldBy(before)].filter((one) => one !== place)));
      }
      this.#holders.set(place, hostId);
    }
    if (places.size === 0) this.#held.delete(hostId);
    else this.#held.set(hostId, places);
    return affected;
  }

  /** The hosts that wait for what this one has, when it yields. */
  waitingFor(hostId: string): Set<string> {
    const affected = new Set<string>();
    for (const place of this.heldBy(hostId)) this.#wake(place, affected);
    return affected;
  }

  #wake(place: Place, affected: Set<string>): void {
    for (const waiting of this.#waiting.get(place) ?? []) affected.add(waiting);
    this.#waiting.delete(place);
  }
}

const NONE: ReadonlySet<Place> = new Set();
