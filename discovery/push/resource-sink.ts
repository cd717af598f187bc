import type { EncodedResource } from "../translate/resource.ts";

/** What an observable set of xDS resources takes: one transaction of changes. */
export interface ResourceSink {
  apply(upserts: readonly EncodedResource[], removals: readonly ResourceRef[]): void;
}

export interface ResourceRef {
  readonly typeUrl: string;
  readonly name: string;
}

/**
 * Remembers which resources each owner (a service, a host) put into a sink, so
 * that what an owner no longer gives is removed. Changes gather until `commit`,
 * and equal bytes are no change.
 */
export class OwnedResources {
  readonly #versions = new Map<string, ReadonlyMap<string, string>>();
  #upserts: EncodedResource[] = [];
  #removals: ResourceRef[] = [];

  /** Makes `resources` all that the owner gives. */
  replace(owner: string, resources: readonly EncodedResource[]): void {
    const before = this.#versions.get(owner) ?? new Map<string, string>();
    const after = new Map<string, string>();
    for (const resource of resources) {
      const key = keyOf(resource);
      after.set(key, resource.version);
      if (before.get(key) !== resource.version) this.#upserts.push(resource);
    }
    for (const key of before.keys()) if (!after.has(key)) this.#removals.push(refOf(key));
    if (after.size === 0) this.#versions.delete(owner);
    else this.#versions.set(owner, after);
  }

  /** Hands over what gathered; false where there was nothing. */
  commit(sink: ResourceSink): boolean {
    const [upserts, removals] = [this.#upserts, this.#removals];
    if (upserts.length === 0 && removals.length === 0) return false;
    // A name that moved from one owner to another is still there.
    const kept = new Set(upserts.map(keyOf));
    this.#upserts = [];
    this.#removals = [];
    sink.apply(upserts, removals.filter((ref) => !kept.has(keyOf(ref))));
    return true;
  }
}

function keyOf({ typeUrl, name }: ResourceRef): string {
  return `${typeUrl} ${name}`;
}

function refOf(key: string): ResourceRef {
  const space = key.indexOf(" ");
  return { typeUrl: key.slice(0, space), name: key.slice(space + 1) };
}
