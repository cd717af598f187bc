import { messageOf } from "../../../../base/coded-error.ts";
import type { KeyValueStore } from "../../../../store/key-value.ts";

/**
 * The nodes of a Consul that this control plane publishes on, or did before its
 * `publish.node` was changed. Its own memory: the owner that stands on a node is
 * that of every control plane with the same trust domain and registry name.
 */
export class OwnNodes {
  readonly #store: KeyValueStore;
  readonly #prefix: string;
  #problem: string | undefined;

  constructor(store: KeyValueStore, registry: string) {
    this.#store = store;
    this.#prefix = `published-node/${registry}/`;
  }

  /** Why it is not known which they are; undefined while it is. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** Those that are known and still there, and from now on `current`; none while the store fails. @param there nodes of our owner in Consul */
  async among(there: readonly string[], current: string): Promise<ReadonlySet<string>> {
    try {
      const { items } = await this.#store.list(this.#prefix);
      const known = new Set(items.map(({ key }) => key.slice(this.#prefix.length)));
      // One of that name that comes later is not ours.
      for (const node of known) if (node !== current && !there.includes(node)) await this.#store.txn([], [{ type: "delete", key: this.#prefix + node }]);
      if (!known.has(current)) await this.#store.txn([], [{ type: "put", key: this.#prefix + current, value: "" }]);
      this.#problem = undefined;
      return new Set(there.filter((node) => known.has(node)));
    } catch (failure) {
      this.#problem = `which nodes in consul are our own cannot be read or saved, so none of before is removed: ${messageOf(failure)}`;
      return new Set();
    }
  }
}
