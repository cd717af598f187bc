import { storeError } from "./errors.ts";
import { assertKey, assertPrefix, assertTransaction } from "./key-value.ts";
import type { Change, KeyValueItem, KeyValueStore } from "./key-value.ts";
import { createWatchQueue } from "./watch-queue.ts";
import type { WatchQueue } from "./watch-queue.ts";

export interface MemoryStoreOptions {
  /** How many transactions a watch can look back, at least. */
  readonly historyRevisions?: number;
}

interface Commit {
  readonly revision: number;
  readonly changes: readonly Change[];
}

interface Watcher {
  readonly prefix: string;
  readonly queue: WatchQueue;
}

/** The store that is gone with the process: the fake of every test, and `ironmesh translate`. */
export function createMemoryStore(options: MemoryStoreOptions = {}): KeyValueStore {
  const { historyRevisions = 10_000 } = options;
  const items = new Map<string, KeyValueItem>();
  const watchers = new Set<Watcher>();
  let history: Commit[] = [];
  let revision = 0;
  let isClosed = false;

  function assertOpen(): void {
    if (isClosed) throw storeError("MESH_STORE_CLOSED", "the store is closed");
  }

  function show(watcher: Watcher, commit: Commit): void {
    const changes = commit.changes.filter((change) => change.key.startsWith(watcher.prefix));
    if (changes.length > 0) watcher.queue.push({ type: "changes", revision: commit.revision, changes });
  }

  return {
    async get(key) {
      assertKey(key);
      assertOpen();
      return items.get(key);
    },

    async list(prefix) {
      assertPrefix(prefix);
      assertOpen();
      const found = [...items.values()].filter((item) => item.key.startsWith(prefix));
      return { items: found.sort((a, b) => (a.key < b.key ? -1 : 1)), revision };
    },

    async txn(comparisons, operations) {
      assertTransaction(comparisons, operations);
      assertOpen();
      if (comparisons.some((comparison) => (items.get(comparison.key)?.revision ?? 0) !== comparison.revision)) {
        return { committed: false, revision };
      }
      const effective = operations.filter((operation) => operation.type === "put" || items.has(operation.key));
      if (effective.length === 0) return { committed: true, revision };
      revision += 1;
      const changes = effective.map((operation): Change => {
        if (operation.type === "put") items.set(operation.key, { key: operation.key, value: operation.value, revision });
        else items.delete(operation.key);
        return { key: operation.key, value: operation.type === "put" ? operation.value : undefined };
      });
      const commit = { revision, changes };
      history.push(commit);
      // Cut in large steps, so that a commit costs the same however long the history is.
      if (history.length >= 2 * historyRevisions) history = history.slice(-historyRevisions);
      for (const watcher of watchers) show(watcher, commit);
      return { committed: true, revision };
    },

    watch(prefix, fromRevision) {
      assertPrefix(prefix);
      assertOpen();
      const watcher: Watcher = { prefix, queue: createWatchQueue(() => watchers.delete(watcher)) };
      watchers.add(watcher);
      const oldest = history[0]?.revision ?? revision + 1;
      if (fromRevision > revision || fromRevision < oldest - 1) watcher.queue.push({ type: "resync" });
      else for (const commit of history) if (commit.revision > fromRevision) show(watcher, commit);
      return watcher.queue;
    },

    close() {
      isClosed = true;
      for (const watcher of watchers) watcher.queue.close();
    },
  };
}
