import type { Change } from "../../base/collection.ts";
import { hostMatches } from "../../model/hostname.ts";
import { type RootNamespace, rootNamespacesOf } from "../../model/root-namespace.ts";

/** A resource that speaks of hosts. */
export interface Claim<R> {
  /** Resolved: canonical or native names, or wildcards (`*.example.com`). */
  readonly hosts: readonly string[];
  readonly namespace: string;
  /** Those of its hosts that it speaks for only where the service's namespace begins so. */
  readonly confined?: { readonly hosts: ReadonlySet<string>; readonly prefix: string };
  /** Orders claims of equal right; the first wins. */
  readonly key: string;
  readonly resource: R;
}

/**
 * Which resource speaks for a host, of those whose kind allows one: an exact
 * host beats a wildcard, the longer wildcard the shorter, the service's own
 * namespace beats the root namespaces, those any other, of the others the mesh's
 * own beat those of clusters, and then the order of keys.
 */
export class HostIndex<R> {
  readonly #claims = new Map<string, Claim<R>>();
  readonly #exact = new Map<string, Set<string>>();
  readonly #wildcards = new Map<string, Set<string>>();
  readonly #roots: readonly RootNamespace[];

  constructor(roots: readonly RootNamespace[]) {
    this.#roots = roots;
  }

  /** Takes changes and gives the hosts (wildcards included) that were or are spoken of. */
  apply(changes: readonly Change<Claim<R>>[]): Set<string> {
    const touched = new Set<string>();
    for (const { key, before, after } of changes) {
      for (const host of before?.hosts ?? []) {
        this.#tableOf(host).get(host)?.delete(key);
        touched.add(host);
      }
      for (const host of after?.hosts ?? []) {
        const table = this.#tableOf(host);
        const keys = table.get(host);
        if (keys === undefined) table.set(host, new Set([key]));
        else keys.add(key);
        touched.add(host);
      }
      if (after === undefined) this.#claims.delete(key);
      else this.#claims.set(key, after);
    }
    return touched;
  }

  /**
   * @param hosts every name of one service
   * @param namespace that of the service
   */
  find(hosts: readonly string[], namespace: string): R | undefined {
    const exact = hosts.flatMap((host) => this.#holding(host, this.#exact.get(host), namespace));
    return (this.#best(exact, namespace) ?? this.#best(this.#wildcardFor(hosts, namespace), namespace))?.resource;
  }

  #tableOf(host: string): Map<string, Set<string>> {
    return host.includes("*") ? this.#wildcards : this.#exact;
  }

  #wildcardFor(hosts: readonly string[], namespace: string): readonly string[] {
    let best = { pattern: "", keys: [] as readonly string[] };
    for (const [pattern, all] of this.#wildcards) {
      if (pattern.length <= best.pattern.length || !hosts.some((host) => hostMatches(pattern, host))) continue;
      const keys = this.#holding(pattern, all, namespace);
      if (keys.length > 0) best = { pattern, keys };
    }
    return best.keys;
  }

  #holding(host: string, keys: Iterable<string> = [], namespace: string): string[] {
    return [...keys].filter((key) => {
      const confined = this.#claims.get(key)?.confined;
      return confined === undefined || !confined.hosts.has(host) || namespace.startsWith(confined.prefix);
    });
  }

  #best(keys: Iterable<string>, namespace: string): Claim<R> | undefined {
    const claims = [...new Set(keys)].flatMap((key) => this.#claims.get(key) ?? []);
    const distance = (claim: Claim<R>): number => this.#distance(claim, namespace);
    return claims.sort((left, right) => distance(left) - distance(right) || (left.key < right.key ? -1 : 1))[0];
  }

  #distance({ namespace, confined }: Claim<R>, own: string): number {
    if (namespace === own) return 0;
    const roots = rootNamespacesOf(own, this.#roots);
    return roots.includes(namespace) ? 1 + roots.indexOf(namespace) : 1 + this.#roots.length + Number(confined !== undefined);
  }
}
