import assert from "node:assert/strict";
import { fork } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { after, before, describe, it } from "mocha";

import { CodedError } from "../../../base/coded-error.ts";
import { openSqliteStore } from "../../../store/sqlite.ts";
import { storeLimits } from "../../../store/key-value.ts";
import { describeStoreConformance } from "../../support/store-conformance.ts";

describe("SQLite store", () => {
  let folder: string;
  let count = 0;
  before(() => (folder = mkdtempSync(join(tmpdir(), "ironmesh-store-"))));
  after(() => rmSync(folder, { recursive: true }));

  function newPath(): string {
    count += 1;
    return join(folder, `state-${count}`, "state.db");
  }

  describeStoreConformance("SQLite", { open: (options) => openSqliteStore({ path: newPath(), ...options }) });

  it("is there again after its end, with its revision and its history", async () => {
    const path = newPath();
    const store = await openSqliteStore({ path });
    for (const value of ["1", "2"]) await store.txn([], [{ type: "put", key: "a", value }]);
    await store.close();
    const again = await openSqliteStore({ path });
    assert.deepEqual(await again.list(""), { items: [{ key: "a", value: "2", revision: 2 }], revision: 2 });
    for await (const event of again.watch("", 1)) {
      assert.deepEqual(event, { type: "changes", revision: 2, changes: [{ key: "a", value: "2" }] });
      break;
    }
    await again.close();
  });

  it("is private, journal files too, also where it was not before", async () => {
    const path = newPath();
    await (await openSqliteStore({ path })).close();
    chmodSync(path, 0o644);
    const store = await openSqliteStore({ path });
    await store.txn([], [{ type: "put", key: "a", value: "1" }]);
    const files = readdirSync(join(path, ".."));
    assert.ok(files.includes("state.db-wal"));
    for (const file of files) assert.equal(statSync(join(path, "..", file)).mode & 0o777, 0o600, file);
    assert.equal(statSync(join(path, "..")).mode & 0o777, 0o700);
    await store.close();
  });

  it("shares one file between two that have it open, watches included", async () => {
    const path = newPath();
    const [first, second] = await Promise.all([openSqliteStore({ path }), openSqliteStore({ path })]);
    const watch = second.watch("", 0);
    const results = await Promise.all([first, second].map((store) => store.txn([{ key: "a", revision: 0 }], [{ type: "put", key: "a", value: "1" }])));
    assert.equal(results.filter((result) => result.committed).length, 1);
    await first.txn([], [{ type: "put", key: "b", value: "2" }]);
    const seen: unknown[] = [];
    for await (const event of watch) {
      seen.push(event);
      if (seen.length === 2) break;
    }
    assert.deepEqual(seen, [
      { type: "changes", revision: 1, changes: [{ key: "a", value: "1" }] },
      { type: "changes", revision: 2, changes: [{ key: "b", value: "2" }] },
    ]);
    await Promise.all([first.close(), second.close()]);
  });

  it("does not hold more requests than its limit", async () => {
    const store = await openSqliteStore({ path: newPath() });
    const requests = Array.from({ length: storeLimits.pendingRequests + 5 }, () => store.get("a"));
    const outcomes = await Promise.allSettled(requests);
    const refused = outcomes.filter((outcome) => outcome.status === "rejected");
    assert.equal(refused.length, 5);
    assert.ok(refused.every(({ reason }) => reason instanceof CodedError && reason.code === "MESH_STORE_BUSY"));
    assert.equal(await store.get("a"), undefined);
    await store.close();
  });

  it("fails a request, and nothing else, when the database fails", async () => {
    const path = newPath();
    const store = await openSqliteStore({ path });
    await store.txn([], [{ type: "put", key: "a", value: "1" }]);
    const holder = new DatabaseSync(path);
    holder.exec("DROP TABLE changes");
    await assert.rejects(store.txn([], [{ type: "put", key: "a", value: "2" }]), (error) => error instanceof CodedError && error.code === "MESH_STORE_FAILED");
    holder.close();
    assert.equal((await store.get("a"))?.value, "1");
    await store.close();
  });

  const wrong: readonly (readonly [name: string, code: string, prepare: (path: string) => void])[] = [
    ["text", "MESH_STORE_OPEN", (path) => writeFileSync(path, "x".repeat(10_000))],
    ["another program's database", "MESH_STORE_OPEN", (path) => execute(path, "CREATE TABLE t (a)")],
    ["a newer schema", "MESH_STORE_SCHEMA", (path) => execute(path, "CREATE TABLE t (a); PRAGMA application_id = 0x494d5331; PRAGMA user_version = 99")],
  ];
  for (const [name, code, prepare] of wrong) {
    it(`refuses a file with ${name}, and leaves it as it is`, async () => {
      const path = join(folder, name.replaceAll(/\W/g, "-"));
      prepare(path);
      const content = readFileSync(path);
      await assert.rejects(openSqliteStore({ path }), (error) => error instanceof CodedError && error.code === code);
      assert.ok(readFileSync(path).equals(content));
    });
  }

  it("loses nothing that it acknowledged when the process is killed", async () => {
    const path = newPath();
    let acknowledged = 0;
    for (let round = 0; round < 5; round += 1) {
      const child = fork(new URL("../../support/store-writer.ts", import.meta.url), [path], { stdio: ["ignore", "ignore", "inherit", "ipc"] });
      const target = acknowledged + 40 + round * 13;
      child.on("message", (revision: number) => {
        acknowledged = Math.max(acknowledged, revision);
        if (revision >= target) child.kill("SIGKILL");
      });
      const [, signal] = (await once(child, "exit")) as [number | null, string | null];
      assert.equal(signal, "SIGKILL");
      const store = await openSqliteStore({ path });
      const { items, revision } = await store.list("");
      assert.ok(revision >= acknowledged, `${revision} of ${acknowledged}`);
      // Each transaction of the writer puts three keys: all of one are there, or none.
      assert.equal(items.length, 3 * revision);
      for (let done = 1; done <= revision; done += 1) {
        for (const part of ["a", "b", "c"]) assert.equal((await store.get(`${part}/${done}`))?.revision, done);
      }
      await store.close();
    }
  }).timeout(120_000);
});

function execute(path: string, statements: string): void {
  const database = new DatabaseSync(path);
  database.exec(statements);
  database.close();
}
