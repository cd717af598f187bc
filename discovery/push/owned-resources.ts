import { memoized } from "../../base/memoized.ts";
import { createResource, type Resource } from "../../xds/resource.ts";
import type { ResourceSet } from "../../xds/resource-set.ts";
import { encodeResource, type TranslatedResource } from "../translate/resource.ts";

interface ResourceRef {
  readonly typeUrl: string;
  readonly name: string;
}

/**
 * What several owners (services, hosts) put into one resource set: what an
 * owner no longer gives is removed, and equal bytes are neither framed nor
 * pushed again. Changes gather until `commit`.
 */
export class OwnedResources {
  readonly #set: ResourceSet;
  /** Per owner: version by type and name. */
  readonly #versions = new Map<string, ReadonlyMap<string, string>>();
  readonly #owners = new Map<string, string>();
  /** What is to be written by type and name; undefined for a removal. Framed already, so that a large commit is short. */
  #pending = new Map<string, Resource | undefined>();

  constructor(set: ResourceSet) {
    this.#set = set;
  }

  /** Makes `resources` all that the owner gives. */
  replace(owner: string, resources: readonly TranslatedResource[]): void {
    const before = this.#versions.get(owner) ?? new Map<string, string>();
    const after = new Map<string, string>();
    for (const resource of resources.map(framed)) {
      const key = keyOf(resource);
      after.set(key, resource.version);
      if (before.get(key) !== resource.version) this.#pending.set(key, resource);
      this.#owners.set(key, owner);
    }
    for (const key of before.keys()) {
      if (after.has(key)) continue;
      // Another owner may have taken the name over since the last commit, or before.
      if (this.#owners.get(key) !== owner) continue;
      this.#pending.set(key, undefined);
      this.#owners.delete(key);
    }
    if (after.size === 0) this.#versions.delete(owner);
    else this.#versions.set(owner, after);
  }

  /** Who gives a resource now. */
  ownerOf(typeUrl: string, name: string): string | undefined {
    return this.#owners.get(keyOf({ typeUrl, name }));
  }

  /** Writes these at once, as one transaction. What gathers stays, and replaces them at `commit`. */
  writeAhead(given: readonly (readonly [owner: string, resources: readonly TranslatedResource[]])[]): void {
    if (given.length === 0) return;
    this.#set.update((transaction) => {
      for (const [owner, resources] of given) {
        const versions = new Map(this.#versions.get(owner));
        for (const resource of resources.map(framed)) {
          const key = keyOf(resource);
          transaction.upsert(resource);
          if (!this.#pending.has(key)) versions.set(key, resource.version);
        }
        this.#versions.set(owner, versions);
      }
    });
  }

  /** Writes what gathered to the set, as one transaction. */
  commit(): void {
    const pending = this.#pending;
    if (pending.size === 0) return;
    this.#pending = new Map();
    this.#set.update((transaction) => {
      for (const [key, resource] of pending) {
        if (resource !== undefined) transaction.upsert(resource);
        else {
          const { typeUrl, name } = refOf(key);
          transaction.remove(typeUrl, name);
        }
      }
    });
  }
}

/** What several hosts have is encoded and framed once, and in memory once. */
const framed = memoized((translated: TranslatedResource): Resource => {
  const { typeUrl, name, bytes, version } = encodeResource(translated);
  return createResource(typeUrl, name, bytes, version);
});

function keyOf({ typeUrl, name }: ResourceRef): string {
  return `${typeUrl} ${name}`;
}

function refOf(key: string): ResourceRef {
  const space = key.indexOf(" ");
  return { typeUrl: key.slice(0, space), name: key.slice(space + 1) };
}
