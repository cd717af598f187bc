import { storeError } from "../../store/errors.ts";
import type { KeyValueStore } from "../../store/key-value.ts";

/** A real store that fails for as long as it is told to. */
export interface FailingStore extends KeyValueStore {
  isBroken: boolean;
}

export function createFailingStore(store: KeyValueStore): FailingStore {
  const assertWell = (): void => {
    if (failing.isBroken) throw storeError("MESH_STORE_FAILED", "the disk is full");
  };
  const failing: FailingStore = {
    isBroken: false,
    async get(key) {
      assertWell();
      return store.get(key);
    },
    async list(prefix) {
      assertWell();
      return store.list(prefix);
    },
    async txn(comparisons, operations) {
      assertWell();
      return store.txn(comparisons, operations);
    },
    watch(prefix, from) {
      const watch = store.watch(prefix, from);
      return {
        close: () => watch.close(),
        async *[Symbol.asyncIterator]() {
          for await (const event of watch) {
            assertWell();
            yield event;
          }
        },
      };
    },
    close: () => store.close(),
  };
  return failing;
}
