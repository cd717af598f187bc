import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "mocha";

import { SecretBytes } from "../../../base/secret-bytes.ts";
import { openJournal, readJournal, verifyJournal } from "../../../ca/journal.ts";
import type { Journal, JournalEvent } from "../../../ca/journal.ts";
import { openJournalEnd } from "../../../ca/journal-end.ts";
import { stateKey } from "../../../ca/key-file.ts";
import { createMemoryStore } from "../../../store/memory.ts";
import type { KeyValueStore } from "../../../store/key-value.ts";
import { assertRefused } from "../../support/ca-fixture.ts";
import { createManualClock } from "../../support/manual-clock.ts";

function entry(sequence: number): string {
  return `ca/journal/cp/${String(sequence).padStart(12, "0")}`;
}

function event(name: string): JournalEvent {
  return { type: "certificate-issued", facts: { name } };
}

describe("journal", () => {
  const key = stateKey(new SecretBytes(Buffer.alloc(32, 1)));
  const clock = createManualClock();
  const writer = "cp";
  let folder: string;
  let store: KeyValueStore;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "ironmesh-journal-"));
    store = createMemoryStore();
  });
  afterEach(async () => {
    await store.close();
    rmSync(folder, { recursive: true });
  });

  async function open(): Promise<Journal> {
    const end = await openJournalEnd({ store, clock, stateKey: key, keyFile: join(folder, "state.key"), writer, isNewAuthority: true });
    return openJournal({ store, clock, stateKey: key, writer, end });
  }

  async function put(path: string, value: string): Promise<void> {
    await store.txn([], [{ type: "put", key: path, value }]);
  }

  async function valueOf(path: string): Promise<string> {
    const item = await store.get(path);
    assert.ok(item);
    return item.value;
  }

  it("keeps entries in order, in one chain, across restarts", async () => {
    const first = await open();
    for (const name of ["a", "b"]) assert.ok(await first.append(event(name)));
    await first.close();
    await (await open()).append(event("c"));
    const entries = await readJournal(store, "cp");
    assert.deepEqual(entries.map(({ facts, sequence }) => [facts["name"], sequence]), [["a", 1], ["b", 2], ["c", 3]]);
    assert.deepEqual(await verifyJournal(store, key, "cp"), []);
    assert.deepEqual((await readJournal(store, "cp", 1)).map(({ sequence }) => sequence), [3]);
  });

  it("takes many at once, in few transactions, and reads them by pieces", async () => {
    const journal = await open();
    await Promise.all(Array.from({ length: 2_500 }, (_, index) => journal.append(event(String(index)))));
    assert.deepEqual((await readJournal(store, "cp")).map(({ facts }) => facts["name"]), Array.from({ length: 2_500 }, (_, index) => String(index)));
    assert.ok((await store.list("x")).revision < 60);
    assert.deepEqual((await readJournal(store, "cp", 3)).map(({ sequence }) => sequence), [2498, 2499, 2500]);
    assert.deepEqual(await verifyJournal(store, key, "cp"), []);
  });

  it("writes what many do in few transactions, and each thing that two would do by itself", async () => {
    const journal = await open();
    const join = (name: string): Promise<boolean> =>
      journal.append(event(name), {
        comparisons: [{ key: `token/${name}`, revision: 0 }, { key: `host/${name}`, revision: 0 }],
        operations: [{ type: "put", key: `token/${name}`, value: "used" }, { type: "put", key: `host/${name}`, value: name }],
      });
    const names = Array.from({ length: 300 }, (_, index) => String(index));
    const before = (await store.list("x")).revision;
    const outcomes = await Promise.all([...names, "7", "299"].map(join));
    assert.deepEqual(outcomes.map((isCommitted, index) => (isCommitted ? [] : [index])).flat(), [300, 301], "the second use of a token");
    assert.ok((await store.list("x")).revision - before < 30);
    assert.equal((await store.list("host/")).items.length, 300);
    assert.deepEqual((await readJournal(store, "cp")).map(({ facts }) => facts["name"]), names);
    assert.deepEqual(await verifyJournal(store, key, "cp"), []);
    // One that does not hold takes none of the others with it.
    assert.deepEqual(await Promise.all(["a", "7", "b"].map(join)), [true, false, true]);
  });

  it("writes nothing where the condition does not hold, and the others all the same", async () => {
    const journal = await open();
    await put("a", "1");
    const holds = { comparisons: [{ key: "a", revision: 1 }], operations: [] };
    const fails = { comparisons: [{ key: "a", revision: 9 }], operations: [] };
    const writes = { comparisons: [{ key: "b", revision: 0 }], operations: [{ type: "put" as const, key: "b", value: "2" }] };
    const results = await Promise.all([holds, fails, undefined, writes, writes, fails, holds].map((condition, index) => journal.append(event(String(index)), condition)));
    assert.deepEqual(results, [true, false, true, true, false, false, true]);
    assert.deepEqual((await readJournal(store, "cp")).map(({ facts }) => facts["name"]), ["0", "2", "3", "6"]);
    assert.deepEqual(await verifyJournal(store, key, "cp"), []);
  });

  it("keeps one chain even where two write under one name", async () => {
    const journals = [await open(), await open()];
    for (let index = 0; index < 10; index += 1) for (const journal of journals) await journal.append(event(String(index)));
    assert.equal((await readJournal(store, "cp")).length, 20);
    assert.deepEqual(await verifyJournal(store, key, "cp"), []);
  });

  describe("tells when the store was tampered with:", () => {
    const tampering: Readonly<Record<string, () => Promise<void>>> = {
      "an entry was changed": async () => put(entry(2), (await valueOf(entry(2))).replace("entry 2", "entry X")),
      "an entry was removed": async () => void (await store.txn([], [{ type: "delete", key: entry(2) }])),
      "two entries changed places": async () => {
        const [second, third] = [await valueOf(entry(2)), await valueOf(entry(3))];
        await put(entry(2), third);
        await put(entry(3), second);
      },
      "the last entry was removed": async () => void (await store.txn([], [{ type: "delete", key: entry(5) }])),
      "the first entry was removed": async () => void (await store.txn([], [{ type: "delete", key: entry(1) }])),
      "an entry was appended": async () => put(entry(6), (await valueOf(entry(5))).replace('"sequence":5', '"sequence":6')),
      "an entry is not JSON": async () => put(entry(3), "{"),
      "the end was set back with its entries": async () => {
        const head = JSON.parse(await valueOf("ca/journal-heads/cp")) as { sequence: number; hash: string };
        const last = JSON.parse(await valueOf(entry(5))) as { previous: string };
        await store.txn([], [{ type: "delete", key: entry(5) }]);
        await put("ca/journal-heads/cp", JSON.stringify({ ...head, sequence: 4, hash: last.previous }));
      },
      "the end was removed": async () => void (await store.txn([], [{ type: "delete", key: "ca/journal-heads/cp" }])),
    };
    for (const [name, tamper] of Object.entries(tampering)) {
      it(name, async () => {
        const journal = await open();
        for (let index = 1; index <= 5; index += 1) await journal.append(event(`entry ${index}`));
        assert.deepEqual(await verifyJournal(store, key, "cp"), []);
        await tamper();
        assert.notDeepEqual(await verifyJournal(store, key, "cp"), []);
      });
    }

    it("the end was removed or set back under a running writer, which then stops", async () => {
      const journal = await open();
      await journal.append(event("a"));
      const old = await valueOf("ca/journal-heads/cp");
      await journal.append(event("b"));
      await put("ca/journal-heads/cp", old);
      await assertRefused(journal.append(event("c")), "MESH_CA_STATE_DAMAGED");
    });

    it("another key wrote the end", async () => {
      await (await open()).append(event("a"));
      const stranger = stateKey(new SecretBytes(Buffer.alloc(32, 2)));
      assert.deepEqual(await verifyJournal(store, stranger, "cp"), ["the end of the journal of cp was not written by an authority with this key file"]);
      const opening = openJournalEnd({ store, clock, stateKey: stranger, keyFile: join(folder, "other.key"), writer, isNewAuthority: false });
      await assertRefused(opening, "MESH_CA_STATE_DAMAGED");
    });
  });
});
