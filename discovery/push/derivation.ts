/** Notes that the value being derived depends on something: any string that `invalidate` will name. */
export type Recorder = (dependency: string) => void;

/** One key whose derived value is new, or gone (undefined). */
export type Derived<V> = readonly [key: string, value: V | undefined];

/**
 * Keeps one derived value per key up to date. Deriving records what it reads;
 * a change of something re-derives exactly the keys that read it, so the cost
 * of a change is proportional to what depends on it.
 */
export class Derivation<V> {
  readonly #derive: (key: string, record: Recorder) => V | undefined;
  readonly #values = new Map<string, V>();
  /** What each key read when it was last derived. */
  readonly #reads = new Map<string, ReadonlySet<string>>();
  /** The same, by what was read. */
  readonly #readers = new Map<string, Set<string>>();
  readonly #stale = new Set<string>();

  /** @param derive pure but for its records; undefined where the key has no value now */
  constructor(derive: (key: string, record: Recorder) => V | undefined) {
    this.#derive = derive;
  }

  get(key: string): V | undefined {
    return this.#values.get(key);
  }

  values(): ReadonlyMap<string, V> {
    return this.#values;
  }

  /** What a key's value was derived from. */
  readsOf(key: string): ReadonlySet<string> {
    return this.#reads.get(key) ?? new Set();
  }

  /** Asks for a key to be derived (again), whatever it read before. */
  request(key: string): void {
    this.#stale.add(key);
  }

  /** Says that something changed. */
  invalidate(dependency: string): void {
    for (const key of this.#readers.get(dependency) ?? []) this.#stale.add(key);
  }

  isStale(): boolean {
    return this.#stale.size > 0;
  }

  /**
   * Derives what is stale, one key at a step, and gives each key that has a
   * value or had one. What becomes stale between two steps waits for the next time.
   */
  *flush(): Generator<Derived<V>, void> {
    const due = [...this.#stale];
    for (const key of due) {
      this.#stale.delete(key);
      const reads = new Set<string>();
      const value = this.#derive(key, (dependency) => reads.add(dependency));
      this.#remember(key, value === undefined ? new Set() : reads);
      if (value === undefined && !this.#values.delete(key)) continue;
      if (value !== undefined) this.#values.set(key, value);
      yield [key, value];
    }
  }

  #remember(key: string, reads: ReadonlySet<string>): void {
    for (const dependency of this.#reads.get(key) ?? []) {
      if (reads.has(dependency)) continue;
      const readers = this.#readers.get(dependency);
      readers?.delete(key);
      if (readers?.size === 0) this.#readers.delete(dependency);
    }
    for (const dependency of reads) {
      const readers = this.#readers.get(dependency);
      if (readers === undefined) this.#readers.set(dependency, new Set([key]));
      else readers.add(key);
    }
    if (reads.size === 0) this.#reads.delete(key);
    else this.#reads.set(key, reads);
  }
}
