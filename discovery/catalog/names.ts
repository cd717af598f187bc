import { isDeepStrictEqual } from "node:util";
import { namesMeaning } from "../../model/hostname.ts";
import type { ServiceKey } from "../../model/service.ts";

/** The names that one service would like to go by. */
export interface NameClaim {
  /** Hostname first, then aliases; lower case, a wildcard as it is written. */
  readonly hosts: readonly string[];
  /** Names made of its name and namespace, for short. */
  readonly shortHosts: readonly string[];
  /** Its virtual addresses. */
  readonly addresses: readonly string[];
  /** Those of services that it took over: it has them where nobody else does. */
  readonly formerAddresses?: readonly string[];
  /** True where the names are its registry's own, false where somebody wrote them down. */
  readonly isCanonical: boolean;
  /** Somebody in a cluster wrote them down, who may but has no better right than the mesh's own configuration. */
  readonly isAllowed?: boolean;
  /** Of its registry; 0 goes first. */
  readonly precedence: number;
  /** Of the registries that names of a joined service are from, by name; absent: all are of its own. */
  readonly precedences?: ReadonlyMap<string, number>;
}

/** A name that a service claims and another one has. */
export interface LostName {
  readonly host: string;
  readonly owner: ServiceKey;
}

/** Names whose owner changed, and services whose domains did. */
export interface NameChanges {
  readonly hosts: ReadonlySet<string>;
  readonly services: ReadonlySet<ServiceKey>;
  /** All that claim such a name, in vain or not. */
  readonly claimants: ReadonlySet<ServiceKey>;
  /** Those that have a name now which another one had. */
  readonly heirs: ReadonlySet<ServiceKey>;
}

interface Right {
  readonly key: ServiceKey;
  /** Lower goes first; see `rightsOf`. */
  readonly order: readonly [kind: number, precedence: number];
}

/**
 * Who may claim a name: the one rule behind virtual-host domains and DNS. Each
 * name has at most one owner, so that no domain is in two virtual hosts of a
 * table (Envoy rejects the whole response for one). Of several claims the order
 * is: a canonical hostname, a registry's own alias, a declared host, one that was
 * declared in a cluster, a short name, an address of a canonical service, one that
 * was declared, one that a service had before it was joined; then the precedence
 * of the registry that the name is from, then the service's key.
 */
export class Names {
  readonly #claims = new Map<ServiceKey, NameClaim>();
  /** By service, what it claims. */
  readonly #claimed = new Map<ServiceKey, ReadonlyMap<string, Right>>();
  readonly #rights = new Map<string, Map<ServiceKey, Right>>();
  readonly #owners = new Map<string, ServiceKey>();
  readonly #listeners = new Set<(changed: NameChanges) => void>();

  /** Sets (`after`) and removes the claims of services; gives what listeners are told. */
  apply(changes: Iterable<{ readonly key: ServiceKey; readonly after?: NameClaim }>): NameChanges {
    const touched = new Set<string>();
    for (const { key, after } of changes) {
      if (isDeepStrictEqual(this.#claims.get(key), after)) continue;
      for (const name of this.#claimed.get(key)?.keys() ?? []) {
        this.#rights.get(name)?.delete(key);
        touched.add(name);
      }
      this.#claims.delete(key);
      this.#claimed.delete(key);
      if (after === undefined) continue;
      const claimed = rightsOf(key, after);
      this.#claims.set(key, after);
      this.#claimed.set(key, claimed);
      for (const [name, right] of claimed) {
        const rights = this.#rights.get(name);
        if (rights === undefined) this.#rights.set(name, new Map([[key, right]]));
        else rights.set(key, right);
        touched.add(name);
      }
    }
    const services = new Set<ServiceKey>();
    const heirs = new Set<ServiceKey>();
    const hosts = new Set([...touched].filter((name) => this.#settle(name, services, heirs)));
    const claimants = new Set([...hosts].flatMap((host) => [...(this.#rights.get(host)?.keys() ?? [])]));
    const changed = { hosts, services, claimants, heirs };
    if (hosts.size > 0) for (const listener of this.#listeners) listener(changed);
    return changed;
  }

  /** Who has exactly this name. */
  ownerOf(name: string): ServiceKey | undefined {
    return this.#owners.get(name);
  }

  /** The service that a name means: exactly this name, else the longest wildcard above it. */
  find(host: string): ServiceKey | undefined {
    for (const name of namesMeaning(host)) {
      const owner = this.#owners.get(name);
      if (owner !== undefined) return owner;
    }
    return undefined;
  }

  /**
   * The domains of a service's virtual host, sorted: all names that it owns.
   * They are the same in the table of every port, and carry none: the listener
   * ignores the port of the Host header.
   */
  domains(service: ServiceKey, _port: number): readonly string[] {
    return [...(this.#claimed.get(service)?.keys() ?? [])].filter((name) => this.#owners.get(name) === service).sort();
  }

  /** The names that a service claims in vain, sorted; short names aside, which nobody asked for. */
  lost(service: ServiceKey): LostName[] {
    const { hosts = [], addresses = [] } = this.#claims.get(service) ?? {};
    return [...new Set([...hosts, ...addresses])].sort().flatMap((host) => {
      const owner = this.#owners.get(host);
      return owner === undefined || owner === service ? [] : [{ host, owner }];
    });
  }

  subscribe(listener: (changed: NameChanges) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Decides one name anew; true where its owner changed. */
  #settle(name: string, services: Set<ServiceKey>, heirs: Set<ServiceKey>): boolean {
    const rights = this.#rights.get(name);
    if (rights?.size === 0) this.#rights.delete(name);
    let owner: Right | undefined;
    for (const right of rights?.values() ?? []) if (owner === undefined || byRight(right, owner) < 0) owner = right;
    const before = this.#owners.get(name);
    if (before === owner?.key) return false;
    if (before !== undefined) services.add(before);
    if (owner === undefined) this.#owners.delete(name);
    else {
      services.add(owner.key);
      if (before !== undefined) heirs.add(owner.key);
      this.#owners.set(name, owner.key);
    }
    return true;
  }
}

/** Each name that a claim speaks of, once, with the best right to it. */
function rightsOf(key: ServiceKey, claim: NameClaim): Map<string, Right> {
  const rights = new Map<string, Right>();
  const add = (name: string, kind: number): void => {
    if (!rights.has(name)) rights.set(name, { key, order: [kind, claim.precedences?.get(name) ?? claim.precedence] });
  };
  claim.hosts.forEach((host, index) => add(host, claim.isCanonical ? Math.min(index, 1) : claim.isAllowed === true ? 3 : 2));
  for (const host of claim.shortHosts) add(host, 4);
  for (const address of claim.addresses) add(address, claim.isCanonical ? 5 : 6);
  for (const address of claim.formerAddresses ?? []) add(address, 7);
  return rights;
}

function byRight(left: Right, right: Right): number {
  return left.order[0] - right.order[0] || left.order[1] - right.order[1] || (left.key < right.key ? -1 : 1);
}
