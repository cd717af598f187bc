import { DatabaseSync } from "node:sqlite";

import { messageOf } from "../base/coded-error.ts";
import { storeError } from "./errors.ts";
import { prefixEnd, storeLimits } from "./key-value.ts";
import type { Change, KeyValueItem, KeyValueList, TxnResult, WatchEvent } from "./key-value.ts";
import type { SqliteAnswer, SqliteOptions, SqliteRequest } from "./sqlite-messages.ts";

/** The state as tables. Every call blocks, so it lives on its own thread (see sqlite-thread.ts). */
export interface SqliteDatabase {
  /** All requests in order in one durable transaction of the disk; throws with nothing of them done. */
  run(requests: readonly SqliteRequest[]): SqliteAnswer[];
  /** What happened under the prefix after `fromRevision`, and how far that goes. */
  changesSince(prefix: string, fromRevision: number): { readonly events: readonly WatchEvent[]; readonly revision: number };
  /** Differs from the last call's when another process has written. */
  version(): number;
  close(): void;
}

const applicationId = 0x49_4d_53_31; // "IMS1"
const schemaVersion = 1;
/** How long a request waits for another process's write. */
const lockTimeoutMs = 10_000;

const schema = `
  CREATE TABLE items (key TEXT PRIMARY KEY, value TEXT NOT NULL, revision INTEGER NOT NULL) STRICT, WITHOUT ROWID;
  CREATE TABLE changes (revision INTEGER NOT NULL, position INTEGER NOT NULL, key TEXT NOT NULL, value TEXT,
    PRIMARY KEY (revision, position)) STRICT, WITHOUT ROWID;
  CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
  INSERT INTO counters VALUES ('revision', 0), ('compacted', 0);
  PRAGMA application_id = ${applicationId};
  PRAGMA user_version = ${schemaVersion};
`;

/** Opens the file, which exists (an empty one becomes a database), and brings it to the current schema. */
export function openDatabase({ path, historyRevisions }: SqliteOptions): SqliteDatabase {
  const database = connect(path);
  const statements = {
    get: database.prepare("SELECT key, value, revision FROM items WHERE key = ?"),
    list: database.prepare("SELECT key, value, revision FROM items WHERE key >= ? AND key < ? ORDER BY key"),
    put: database.prepare("INSERT INTO items VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value, revision = excluded.revision"),
    delete: database.prepare("DELETE FROM items WHERE key = ?"),
    record: database.prepare("INSERT INTO changes VALUES (?, ?, ?, ?)"),
    since: database.prepare("SELECT revision, key, value FROM changes WHERE revision > ? AND key >= ? AND key < ? ORDER BY revision, position LIMIT ?"),
    forget: database.prepare("DELETE FROM changes WHERE revision <= ?"),
    counter: database.prepare("SELECT value FROM counters WHERE name = ?"),
    setCounter: database.prepare("UPDATE counters SET value = ? WHERE name = ?"),
    version: database.prepare("PRAGMA data_version"),
  };

  function counter(name: "revision" | "compacted"): number {
    return Number(statements.counter.get(name)?.["value"]);
  }

  function get(key: string): KeyValueItem | undefined {
    const row = statements.get.get(key);
    return row === undefined ? undefined : toItem(row);
  }

  function list(prefix: string): KeyValueList {
    const rows = statements.list.all(prefix, prefixEnd(prefix));
    return { items: rows.map(toItem), revision: counter("revision") };
  }

  function txn({ comparisons, operations }: Extract<SqliteRequest, { type: "txn" }>): TxnResult {
    const before = counter("revision");
    if (comparisons.some(({ key, revision }) => (get(key)?.revision ?? 0) !== revision)) return { committed: false, revision: before };
    const revision = before + 1;
    let position = 0;
    for (const operation of operations) {
      if (operation.type === "put") statements.put.run(operation.key, operation.value, revision);
      else if (statements.delete.run(operation.key).changes === 0) continue;
      statements.record.run(revision, position, operation.key, operation.type === "put" ? operation.value : null);
      position += 1;
    }
    if (position === 0) return { committed: true, revision: before };
    statements.setCounter.run(revision, "revision");
    return { committed: true, revision };
  }

  function compact(): void {
    const revision = counter("revision");
    // In steps, so that most transactions delete nothing.
    if (revision - counter("compacted") < 2 * historyRevisions) return;
    statements.forget.run(revision - historyRevisions);
    statements.setCounter.run(revision - historyRevisions, "compacted");
  }

  function inTransaction<T>(begin: string, work: () => T): T {
    database.exec(begin);
    try {
      const result = work();
      database.exec("COMMIT");
      return result;
    } catch (failure) {
      // A full disk ends the transaction by itself.
      if (database.isTransaction) database.exec("ROLLBACK");
      throw failure;
    }
  }

  return {
    run(requests) {
      const writes = requests.some((request) => request.type === "txn");
      return inTransaction(writes ? "BEGIN IMMEDIATE" : "BEGIN", () => {
        const answers = requests.map((request): SqliteAnswer => {
          if (request.type === "get") return get(request.key);
          return request.type === "list" ? list(request.prefix) : txn(request);
        });
        if (writes) compact();
        return answers;
      });
    },

    changesSince(prefix, fromRevision) {
      return inTransaction("BEGIN", () => {
        const revision = counter("revision");
        const limit = storeLimits.watchEvents * storeLimits.operations;
        const isTold = fromRevision >= counter("compacted") && fromRevision <= revision;
        const rows = isTold ? statements.since.all(fromRevision, prefix, prefixEnd(prefix), limit + 1) : [];
        if (!isTold || rows.length > limit) return { events: [{ type: "resync" }], revision };
        return { events: groupByRevision(rows), revision };
      });
    },

    version: () => Number(statements.version.get()?.["data_version"]),

    close: () => database.close(),
  };
}

function connect(path: string): DatabaseSync {
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(path, { timeout: lockTimeoutMs });
    // First of all, so that a file which is not ours stays as it is.
    assertKnownSchema(database, path);
    // FULL: a commit is on the disk before it is acknowledged, also in WAL mode.
    database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON");
    migrate(database, path);
    return database;
  } catch (failure) {
    database?.close();
    if (failure instanceof Error && "code" in failure && String(failure.code).startsWith("MESH_")) throw failure;
    throw storeError("MESH_STORE_OPEN", `cannot open the state database ${path}: ${messageOf(failure)}`, { cause: failure });
  }
}

function migrate(database: DatabaseSync, path: string): void {
  database.exec("BEGIN IMMEDIATE");
  try {
    // Again, under the lock: another process may have been first.
    if (assertKnownSchema(database, path) === "empty") database.exec(schema);
    database.exec("COMMIT");
  } catch (failure) {
    if (database.isTransaction) database.exec("ROLLBACK");
    throw failure;
  }
}

function assertKnownSchema(database: DatabaseSync, path: string): "empty" | "current" {
  if (database.prepare("SELECT 1 FROM sqlite_schema").get() === undefined) return "empty";
  const application = Number(database.prepare("PRAGMA application_id").get()?.["application_id"]);
  if (application !== applicationId) throw storeError("MESH_STORE_OPEN", `${path} is a database of another program`);
  const version = Number(database.prepare("PRAGMA user_version").get()?.["user_version"]);
  if (version !== schemaVersion) throw storeError("MESH_STORE_SCHEMA", `${path} has schema ${version}, this version knows ${schemaVersion}`);
  return "current";
}

function toItem(row: Record<string, unknown>): KeyValueItem {
  return { key: String(row["key"]), value: String(row["value"]), revision: Number(row["revision"]) };
}

function groupByRevision(rows: readonly Record<string, unknown>[]): WatchEvent[] {
  const byRevision = new Map<number, Change[]>();
  for (const row of rows) {
    const revision = Number(row["revision"]);
    const changes = byRevision.get(revision) ?? [];
    byRevision.set(revision, changes);
    changes.push({ key: String(row["key"]), value: (row["value"] as string | null) ?? undefined });
  }
  return [...byRevision].map(([revision, changes]) => ({ type: "changes", revision, changes }));
}
