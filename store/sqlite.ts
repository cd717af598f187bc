import { chmod, mkdir, open } from "node:fs/promises";
import { dirname } from "node:path";
import { Worker } from "node:worker_threads";

import { messageOf } from "../base/coded-error.ts";
import { storeError } from "./errors.ts";
import { assertKey, assertPrefix, assertTransaction, storeLimits } from "./key-value.ts";
import type { KeyValueItem, KeyValueList, KeyValueStore, TxnResult } from "./key-value.ts";
import type { SqliteAnswer, SqliteMessage, SqliteOptions, SqliteReply, SqliteRequest } from "./sqlite-messages.ts";
import { createWatchQueue } from "./watch-queue.ts";
import type { WatchQueue } from "./watch-queue.ts";

export interface SqliteStoreOptions {
  /** Made when it does not exist, 0600 and its folder 0700. */
  readonly path: string;
  /** How many transactions a watch can look back, at least. */
  readonly historyRevisions?: number;
  /** The thread's script, where a bundle has moved it. */
  readonly threadUrl?: URL;
}

interface Pending {
  resolve(answer: SqliteAnswer): void;
  reject(failure: Error): void;
}

type WithoutId<T> = T extends unknown ? Omit<T, "id"> : never;

/**
 * The embedded store: one SQLite file, on a thread of its own. Transactions that
 * wait together share one write to the disk, and each is acknowledged only when
 * it is there. Several processes may open one file. Rejects with
 * `MESH_STORE_OPEN` or `MESH_STORE_SCHEMA`.
 */
export async function openSqliteStore(options: SqliteStoreOptions): Promise<KeyValueStore> {
  const { path, historyRevisions = 10_000 } = options;
  await makePrivateFile(path);
  const thread = new Worker(options.threadUrl ?? threadUrl(), {
    name: "state store",
    workerData: { path, historyRevisions } satisfies SqliteOptions,
  });
  await new Promise<void>((resolve, reject) => {
    thread.once("error", reject);
    thread.once("message", (reply: SqliteReply) => {
      thread.off("error", reject);
      if (reply.type === "open-failed") reject(storeError(reply.code, reply.message));
      else resolve();
    });
  });
  return driveThread(thread, path);
}

function driveThread(thread: Worker, path: string): KeyValueStore {
  const pending = new Map<number, Pending>();
  const watches = new Map<number, WatchQueue>();
  const ended = new Promise<void>((resolve) => thread.once("exit", () => resolve()));
  let lastId = 0;
  let failure: Error | undefined;
  let closing: Promise<void> | undefined;

  function send(message: SqliteMessage): void {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread has no origin
    thread.postMessage(message);
  }

  function ask(request: WithoutId<SqliteRequest>): Promise<SqliteAnswer> {
    assertUsable();
    if (pending.size >= storeLimits.pendingRequests) {
      throw storeError("MESH_STORE_BUSY", `${pending.size} requests wait for the state database already`, { facts: { path } });
    }
    lastId += 1;
    const id = lastId;
    return new Promise((resolve, reject) => {
      pending.set(id, { resolve, reject });
      send({ ...request, id });
    });
  }

  function assertUsable(): void {
    if (closing !== undefined) throw storeError("MESH_STORE_CLOSED", "the store is closed");
    if (failure !== undefined) throw failure;
  }

  function take(reply: SqliteReply): void {
    if (reply.type === "answer" || reply.type === "failure") {
      const waiting = pending.get(reply.id);
      pending.delete(reply.id);
      if (reply.type === "answer") waiting?.resolve(reply.answer);
      else waiting?.reject(storeError("MESH_STORE_FAILED", `the state database failed: ${reply.message}`, { facts: { path } }));
    } else if (reply.type === "event") {
      watches.get(reply.watchId)?.push(reply.event);
    } else if (reply.type === "watch-failed") {
      watches.get(reply.watchId)?.fail(storeError("MESH_STORE_FAILED", `the state database failed: ${reply.message}`, { facts: { path } }));
    }
  }

  function failAll(cause: unknown): void {
    failure ??= storeError("MESH_STORE_FAILED", `the thread of the state database ended: ${messageOf(cause)}`, { cause, facts: { path } });
    for (const waiting of pending.values()) waiting.reject(failure);
    pending.clear();
    for (const queue of watches.values()) queue.fail(failure);
  }

  async function finish(): Promise<void> {
    for (const queue of watches.values()) queue.close();
    // Handled after everything that was asked before it.
    send({ type: "close" });
    await ended;
  }

  thread.on("message", take);
  thread.on("error", failAll);
  thread.on("exit", () => failAll(new Error("exit")));

  return {
    async get(key) {
      assertKey(key);
      return (await ask({ type: "get", key })) as KeyValueItem | undefined;
    },

    async list(prefix) {
      assertPrefix(prefix);
      return (await ask({ type: "list", prefix })) as KeyValueList;
    },

    async txn(comparisons, operations) {
      assertTransaction(comparisons, operations);
      return (await ask({ type: "txn", comparisons, operations })) as TxnResult;
    },

    watch(prefix, fromRevision) {
      assertPrefix(prefix);
      assertUsable();
      lastId += 1;
      const watchId = lastId;
      const queue = createWatchQueue(() => {
        watches.delete(watchId);
        send({ type: "unwatch", watchId });
      });
      watches.set(watchId, queue);
      send({ type: "watch", watchId, prefix, fromRevision });
      return queue;
    },

    close() {
      closing ??= finish();
      return closing;
    },
  };
}

/** SQLite gives its journal files the mode of the database, so that one must be private from its first byte. */
async function makePrivateFile(path: string): Promise<void> {
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    const file = await open(path, "a", 0o600);
    await file.close();
    await chmod(path, 0o600);
  } catch (failure) {
    throw storeError("MESH_STORE_OPEN", `cannot create the state database ${path}: ${messageOf(failure)}`, { cause: failure });
  }
}

/** Beside this file, in the sources as in what is built from them. */
function threadUrl(): URL {
  return new URL(import.meta.url.endsWith(".ts") ? "./sqlite-thread.ts" : "./sqlite-thread.js", import.meta.url);
}
