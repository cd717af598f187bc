import assert from "node:assert/strict";
import { setImmediate } from "node:timers/promises";
import * as fc from "fast-check";
import { afterEach, describe, it } from "mocha";

import { CodedError } from "../../base/coded-error.ts";
import { storeLimits } from "../../store/key-value.ts";
import type { KeyValueStore, Operation, Watch, WatchEvent } from "../../store/key-value.ts";

/** How the suite gets stores of one driver. */
export interface StoreDriver {
  /** A new, empty store; the suite closes it. */
  open(options: { readonly historyRevisions?: number }): Promise<KeyValueStore>;
}

/** What every driver of the key-value interface does alike. */
export function describeStoreConformance(driverName: string, driver: StoreDriver): void {
  describe(`${driverName} as a key-value store`, () => {
    const opened: KeyValueStore[] = [];

    async function openStore(historyRevisions = 1_000): Promise<KeyValueStore> {
      const store = await driver.open({ historyRevisions });
      opened.push(store);
      return store;
    }

    afterEach(async () => {
      for (const store of opened.splice(0)) await store.close();
    });

    it("starts empty, at revision 0", async () => {
      const store = await openStore();
      assert.deepEqual(await store.list(""), { items: [], revision: 0 });
      assert.equal(await store.get("a"), undefined);
    });

    it("keeps what it is given, in the order of keys, under the asked prefix only", async () => {
      const store = await openStore();
      const keys = ["b/2", "b/10", "b", "a~", "b0", "c/1", "B/1", "b/~"];
      for (const key of keys) await put(store, key, `value of ${key}`);
      const { items, revision } = await store.list("b/");
      assert.deepEqual(items.map((item) => item.key), ["b/10", "b/2", "b/~"]);
      assert.equal(revision, keys.length);
      assert.deepEqual((await store.list("")).items.map((item) => item.key), keys.toSorted());
      assert.deepEqual(await store.get("b/10"), { key: "b/10", value: "value of b/10", revision: 2 });
    });

    it("keeps any text as it is", async () => {
      const store = await openStore();
      for (const value of ["", "ä€😀", "\0\n\"'", "x".repeat(200_000)]) {
        await put(store, "a", value);
        assert.equal((await store.get("a"))?.value, value);
      }
    });

    it("does all of a transaction or nothing", async () => {
      const store = await openStore();
      await put(store, "a", "1");
      const refused = await store.txn([{ key: "a", revision: 1 }, { key: "b", revision: 7 }], [{ type: "delete", key: "a" }, { type: "put", key: "c", value: "" }]);
      assert.deepEqual(refused, { committed: false, revision: 1 });
      assert.deepEqual((await store.list("")).items.map((item) => item.key), ["a"]);
      const done = await store.txn([{ key: "a", revision: 1 }, { key: "b", revision: 0 }], [{ type: "delete", key: "a" }, { type: "put", key: "b", value: "2" }]);
      assert.deepEqual(done, { committed: true, revision: 2 });
      assert.deepEqual((await store.list("")).items, [{ key: "b", value: "2", revision: 2 }]);
    });

    it("gives no revision to what changes nothing", async () => {
      const store = await openStore();
      await put(store, "a", "1");
      assert.deepEqual(await store.txn([], [{ type: "delete", key: "other" }]), { committed: true, revision: 1 });
      assert.deepEqual(await store.txn([{ key: "a", revision: 1 }], []), { committed: true, revision: 1 });
    });

    it("lets exactly one of many writers win", async () => {
      const store = await openStore();
      const results = await Promise.all(Array.from({ length: 100 }, (_, index) => store.txn([{ key: "a", revision: 0 }], [{ type: "put", key: "a", value: String(index) }])));
      assert.equal(results.filter((result) => result.committed).length, 1);
      assert.equal((await store.get("a"))?.value, String(results.findIndex((result) => result.committed)));
    });

    it("does not count a deleted and remade key as the same", async () => {
      const store = await openStore();
      await put(store, "a", "1");
      await store.txn([], [{ type: "delete", key: "a" }]);
      await put(store, "a", "1");
      assert.equal((await store.txn([{ key: "a", revision: 1 }], [{ type: "put", key: "a", value: "2" }])).committed, false);
    });

    it("tells a watch everything after its revision, one event for each transaction", async () => {
      const store = await openStore();
      await put(store, "w/a", "1");
      const { revision } = await store.list("w/");
      await store.txn([], [{ type: "put", key: "w/a", value: "2" }, { type: "put", key: "other", value: "x" }, { type: "put", key: "w/b", value: "3" }]);
      const watch = store.watch("w/", revision);
      await put(store, "other", "y");
      await store.txn([], [{ type: "delete", key: "w/a" }]);
      assert.deepEqual(await take(watch, 2), [
        { type: "changes", revision: 2, changes: [{ key: "w/a", value: "2" }, { key: "w/b", value: "3" }] },
        { type: "changes", revision: 4, changes: [{ key: "w/a", value: undefined }] },
      ]);
      watch.close();
    });

    it("shows several watches the same", async () => {
      const store = await openStore();
      const watches = [store.watch("", 0), store.watch("", 0), store.watch("a", 0)];
      await put(store, "a", "1");
      for (const watch of watches) {
        assert.deepEqual(await take(watch, 1), [{ type: "changes", revision: 1, changes: [{ key: "a", value: "1" }] }]);
        watch.close();
      }
    });

    it("tells a watch to start again when its history is compacted", async () => {
      const store = await openStore(10);
      for (let index = 0; index < 30; index += 1) await put(store, "a", String(index));
      const old = store.watch("", 1);
      assert.deepEqual(await all(old), [{ type: "resync" }]);
      const recent = store.watch("", 25);
      assert.deepEqual((await take(recent, 5)).map((event) => event.type === "changes" && event.revision), [26, 27, 28, 29, 30]);
      recent.close();
    });

    it("tells a watch to start again from a revision that this store never had", async () => {
      const store = await openStore();
      await put(store, "a", "1");
      assert.deepEqual(await all(store.watch("", 2)), [{ type: "resync" }]);
    });

    it("holds a bounded number of events for a slow reader, then tells it to start again", async () => {
      const store = await openStore(10_000);
      const watch = store.watch("", 0);
      const iterator = watch[Symbol.asyncIterator]();
      await put(store, "a", "first");
      assert.equal((await iterator.next()).done, false);
      const count = storeLimits.watchEvents + 10;
      for (let index = 0; index < count; index += 100) {
        await Promise.all(Array.from({ length: 100 }, () => put(store, "a", String(index))));
      }
      await put(store, "a", "last");
      const seen: unknown[] = [];
      for (let next = await iterator.next(); next.done !== true; next = await iterator.next()) seen.push(next.value);
      assert.deepEqual(seen.at(-1), { type: "resync" });
      assert.ok(seen.length <= storeLimits.watchEvents);
    }).timeout(60_000);

    it("ends a watch that waits, when the watch or the store closes", async () => {
      const store = await openStore();
      const [first, second] = [store.watch("", 0), store.watch("", 0)];
      const ends = [all(first), all(second)];
      await setImmediate();
      first.close();
      await store.close();
      assert.deepEqual(await Promise.all(ends), [[], []]);
    });

    it("refuses work after its end, and ends twice without harm", async () => {
      const store = await openStore();
      const written = put(store, "a", "1");
      await store.close();
      await store.close();
      await written;
      for (const attempt of [() => store.get("a"), () => store.list(""), () => store.txn([], [])]) {
        await assert.rejects(attempt, (error) => error instanceof CodedError && error.code === "MESH_STORE_CLOSED");
      }
      assert.throws(() => store.watch("", 0), (error) => error instanceof CodedError && error.code === "MESH_STORE_CLOSED");
    });

    it("refuses what no driver could keep", async () => {
      const store = await openStore();
      for (const key of ["", "a b", "ä", "a\n", "k".repeat(storeLimits.keyLength + 1)]) {
        await assert.rejects(put(store, key, "1"), /not a store key/);
      }
      const many = Array.from({ length: storeLimits.operations + 1 }, (_, index): Operation => ({ type: "delete", key: `k${index}` }));
      await assert.rejects(store.txn([], many), /too large/);
      await assert.rejects(put(store, "a", "x".repeat(storeLimits.valueBytes + 1)), /larger than/);
      await assert.rejects(store.txn([], [{ type: "put", key: "a", value: "1" }, { type: "delete", key: "a" }]), /twice/);
      assert.equal((await store.list("")).revision, 0);
    });

    it("agrees with a plain map, and its watch with its lists, for any transactions", async () => {
      const key = fc.constantFrom("a", "a/1", "a/2", "b", "b/1");
      const operation = fc.oneof(
        fc.record({ type: fc.constant("put" as const), key, value: fc.string({ maxLength: 5 }) }),
        fc.record({ type: fc.constant("delete" as const), key }),
      );
      const transactions = fc.array(fc.uniqueArray(operation, { selector: (one) => one.key, maxLength: 4 }), { maxLength: 12 });
      await fc.assert(
        fc.asyncProperty(transactions, async (list) => {
          const store = await driver.open({});
          try {
            const watch = store.watch("a", 0);
            const model = new Map<string, string>();
            for (const operations of list) {
              for (const one of operations) {
                if (one.type === "put") model.set(one.key, one.value);
                else model.delete(one.key);
              }
              await store.txn([], operations);
            }
            await put(store, "a-end", "");
            const items = (await store.list("")).items.filter((item) => item.key !== "a-end");
            assert.deepEqual(items.map((item) => [item.key, item.value]), sorted(model));
            const replica = new Map<string, string>();
            for await (const event of watch) {
              assert.equal(event.type, "changes");
              if (event.type !== "changes") break;
              for (const change of event.changes) {
                if (change.value === undefined) replica.delete(change.key);
                else replica.set(change.key, change.value);
              }
              if (replica.delete("a-end")) break;
            }
            assert.deepEqual(sorted(replica), sorted(model).filter(([name]) => name.startsWith("a")));
          } finally {
            await store.close();
          }
        }),
        { numRuns: 20 },
      );
    }).timeout(60_000);
  });
}

async function put(store: KeyValueStore, key: string, value: string): Promise<void> {
  assert.ok((await store.txn([], [{ type: "put", key, value }])).committed);
}

async function take(watch: Watch, count: number): Promise<WatchEvent[]> {
  const events: WatchEvent[] = [];
  const iterator = watch[Symbol.asyncIterator]();
  while (events.length < count) {
    const next = await iterator.next();
    if (next.done === true) break;
    events.push(next.value);
  }
  return events;
}

async function all(watch: Watch): Promise<WatchEvent[]> {
  const events: WatchEvent[] = [];
  for await (const event of watch) events.push(event);
  return events;
}

function sorted(map: ReadonlyMap<string, string>): [string, string][] {
  return [...map].toSorted(([a], [b]) => (a < b ? -1 : 1));
}
