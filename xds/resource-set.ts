import { type Resource, routeConfigurationOf } from "./resource.ts";
import { TYPE_URLS } from "./type-urls.ts";

/** The names that one transaction changed, by type: set, replaced or removed. */
export type Changes = ReadonlyMap<string, ReadonlySet<string>>;

/** What may be done to a set within a transaction. */
export interface Transaction {
  /** Adds or replaces. A resource of the version that is there already changes nothing. */
  upsert(resource: Resource): void;
  remove(typeUrl: string, name: string): void;
  /** Makes these the only resources of their type. */
  replaceAll(typeUrl: string, resources: Iterable<Resource>): void;
}

/** What a stream needs of a set. */
export interface ResourceView {
  get(typeUrl: string, name: string): Resource | undefined;
  /** In order of first appearance. */
  list(typeUrl: string): Iterable<Resource>;
  /** The virtual hosts of one route configuration, by their names' prefix. */
  virtualHostsOf(routeConfiguration: string): Iterable<string>;
  /** Calls back after each transaction that changed something. @returns what stops it */
  watch(listener: (changes: Changes) => void): () => void;
  /** Counts the transactions that changed something. */
  revision(): number;
  /** A digest over names and versions of one type, independent of order: equal sets, equal digests. */
  digest(typeUrl: string): string;
}

/** A keyed, observable set of resources of all types. Its owner writes, streams watch. */
export interface ResourceSet extends ResourceView {
  /** Runs `work` and then tells the watchers once. The new state is visible at once. */
  update(work: (transaction: Transaction) => void): void;
  types(): Iterable<string>;
  size(typeUrl: string): number;
}

interface TypeState {
  readonly byName: Map<string, Resource>;
  /** Two halves of a XOR over the hashes of the members. */
  high: number;
  low: number;
}

export function createResourceSet(): ResourceSet {
  const types = new Map<string, TypeState>();
  const virtualHosts = new Map<string, Set<string>>();
  const listeners = new Set<(changes: Changes) => void>();
  let revision = 0;
  let changes: Map<string, Set<string>> | undefined;

  const stateOf = (typeUrl: string): TypeState => {
    let state = types.get(typeUrl);
    if (state === undefined) types.set(typeUrl, (state = { byName: new Map(), high: 0, low: 0 }));
    return state;
  };
  const noteChange = (typeUrl: string, name: string): void => {
    const names = changes?.get(typeUrl);
    if (names === undefined) changes?.set(typeUrl, new Set([name]));
    else names.add(name);
  };
  const indexVirtualHost = (name: string, isPresent: boolean): void => {
    const table = routeConfigurationOf(name);
    const names = virtualHosts.get(table);
    if (isPresent) {
      if (names === undefined) virtualHosts.set(table, new Set([name]));
      else names.add(name);
    } else if (names?.delete(name) === true && names.size === 0) virtualHosts.delete(table);
  };
  const transaction: Transaction = {
    upsert(resource) {
      const { typeUrl, name } = resource;
      const state = stateOf(typeUrl);
      const previous = state.byName.get(name);
      if (previous?.version === resource.version) return;
      if (previous !== undefined) toggle(state, previous);
      toggle(state, resource);
      state.byName.set(name, resource);
      if (typeUrl === TYPE_URLS.virtualHost) indexVirtualHost(name, true);
      noteChange(typeUrl, name);
    },
    remove(typeUrl, name) {
      const state = types.get(typeUrl);
      const previous = state?.byName.get(name);
      if (state === undefined || previous === undefined) return;
      toggle(state, previous);
      state.byName.delete(name);
      if (typeUrl === TYPE_URLS.virtualHost) indexVirtualHost(name, false);
      noteChange(typeUrl, name);
    },
    replaceAll(typeUrl, resources) {
      const gone = new Set(types.get(typeUrl)?.byName.keys());
      for (const resource of resources) {
        if (resource.typeUrl !== typeUrl) throw new TypeError(`${resource.name} is a ${resource.typeUrl}, not a ${typeUrl}`);
        gone.delete(resource.name);
        transaction.upsert(resource);
      }
      for (const name of gone) transaction.remove(typeUrl, name);
    },
  };

  return {
    update(work) {
      if (changes !== undefined) throw new Error("a transaction on this set is open already");
      const noted = new Map<string, Set<string>>();
      changes = noted;
      try {
        work(transaction);
      } finally {
        changes = undefined;
        // Also after a failure: what was changed until then is visible and must be told.
        if (noted.size > 0) {
          revision += 1;
          for (const listener of listeners) listener(noted);
        }
      }
    },
    get: (typeUrl, name) => types.get(typeUrl)?.byName.get(name),
    list: (typeUrl) => types.get(typeUrl)?.byName.values() ?? [],
    virtualHostsOf: (routeConfiguration) => virtualHosts.get(routeConfiguration) ?? [],
    watch(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    revision: () => revision,
    digest(typeUrl) {
      const { high = 0, low = 0 } = types.get(typeUrl) ?? {};
      return hex(high) + hex(low);
    },
    types: () => types.keys(),
    size: (typeUrl) => types.get(typeUrl)?.byName.size ?? 0,
  };
}

/** Adds a member to the digest, or takes it out again. */
function toggle(state: TypeState, { digestHigh, digestLow }: Resource): void {
  state.high ^= digestHigh;
  state.low ^= digestLow;
}

function hex(half: number): string {
  return (half >>> 0).toString(16).padStart(8, "0");
}

/**
 * The union of several sets, as one stream sees it. A name that is in more than
 * one of them is the first one's: put what belongs to the stream alone first.
 */
export function unionOf(sets: readonly ResourceView[]): ResourceView {
  const [only] = sets;
  if (only !== undefined && sets.length === 1) return only;
  const get = (typeUrl: string, name: string): Resource | undefined => {
    for (const set of sets) {
      const resource = set.get(typeUrl, name);
      if (resource !== undefined) return resource;
    }
    return undefined;
  };
  return {
    get,
    *list(typeUrl) {
      for (const set of sets) {
        for (const resource of set.list(typeUrl)) if (get(typeUrl, resource.name) === resource) yield resource;
      }
    },
    *virtualHostsOf(routeConfiguration) {
      for (const set of sets) yield* set.virtualHostsOf(routeConfiguration);
    },
    watch(listener) {
      const stops = sets.map((set) => set.watch(listener));
      return () => {
        for (const stop of stops) stop();
      };
    },
    revision: () => sets.reduce((sum, set) => sum + set.revision(), 0),
    digest: (typeUrl) =>
      sets
        .map((set) => set.digest(typeUrl))
        .reduce((sum, digest) => hex(half(sum, 0) ^ half(digest, 0)) + hex(half(sum, 8) ^ half(digest, 8)), "0".repeat(16)),
  };
}

function half(digest: string, at: number): number {
  return Number.parseInt(digest.slice(at, at + 8), 16);
}
