import { isDeepStrictEqual } from "node:util";

/** One key of a collection that changed. `before` is absent for a new one, `after` for a removed one. */
export interface Change<T> {
  readonly key: string;
  readonly before?: T;
  readonly after?: T;
}

export type ChangeListener<T> = (changes: readonly Change<T>[]) => void;

/**
 * Keyed, observable state. Values are immutable; a value that equals the one
 * before it is no change and is told to nobody.
 */
export interface Collection<T> {
  get(key: string): T | undefined;
  /** All entries, in no promised order. */
  entries(): ReadonlyMap<string, T>;
  /** Calls back with every later batch of changes, synchronously; the returned function ends it. */
  subscribe(listener: ChangeListener<T>): () => void;
}

/** What a collection holds now, as if it had just come. */
export function presentIn<T>(collection: Pick<Collection<T>, "entries">): { readonly key: string; readonly after: T }[] {
  return [...collection.entries()].map(([key, after]) => ({ key, after }));
}

/** A collection that its owner writes. */
export class SourceCollection<T> implements Collection<T> {
  readonly #values = new Map<string, T>();
  readonly #listeners = new Set<ChangeListener<T>>();

  get(key: string): T | undefined {
    return this.#values.get(key);
  }

  entries(): ReadonlyMap<string, T> {
    return this.#values;
  }

  subscribe(listener: ChangeListener<T>): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Sets (a value) and removes (undefined) keys as one batch. */
  apply(updates: Iterable<readonly [string, T | undefined]>): void {
    const changes: Change<T>[] = [];
    for (const [key, after] of updates) {
      const before = this.#values.get(key);
      if (isDeepStrictEqual(before, after)) continue;
      if (after === undefined) this.#values.delete(key);
      else this.#values.set(key, after);
      changes.push({ key, ...(before === undefined ? {} : { before }), ...(after === undefined ? {} : { after }) });
    }
    if (changes.length > 0) for (const listener of this.#listeners) listener(changes);
  }

  /** Makes `next` the whole content: what is missing from it is removed. */
  replaceAll(next: ReadonlyMap<string, T>): void {
    const gone = [...this.#values.keys()].filter((key) => !next.has(key));
    this.apply([...gone.map((key) => [key, undefined] as const), ...next]);
  }
}
