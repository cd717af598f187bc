/** Values by key, each for as long as somebody else holds it: many may share one, and none is kept for nobody. */
export class WeakValues<Value extends object> {
  readonly #held = new Map<string, WeakRef<Value>>();
  readonly #gone = new FinalizationRegistry<string>((key) => {
    if (this.get(key) === undefined) this.#held.delete(key);
  });

  /** Undefined where nobody has held it since it was set, or nothing was. */
  get(key: string): Value | undefined {
    return this.#held.get(key)?.deref();
  }

  set(key: string, value: Value): void {
    this.#held.set(key, new WeakRef(value));
    this.#gone.register(value, key);
  }

  /** Of how many keys something is remembered. */
  get size(): number {
    return this.#held.size;
  }
}
