import assert from "node:assert/strict";
import { CodedError } from "../../../../base/coded-error.ts";
import { LatestWriter } from "../../../../discovery/registry/latest-writer.ts";
import { storeLimits } from "../../../../store/key-value.ts";
import { createMemoryStore } from "../../../../store/memory.ts";
import { createFailingStore, type FailingStore } from "../../../support/failing-store.ts";
import { createManualClock, type ManualClock } from "../../../support/manual-clock.ts";
import { waitUntil } from "../../../support/wait-until.ts";

const LONGEST_PAUSE_MS = 30_000;

describe("the writer of newest values", () => {
  let store: FailingStore;
  let clock: ManualClock;
  let outcomes: (string | undefined)[];
  let writer: LatestWriter;

  beforeEach(() => {
    store = createFailingStore(createMemoryStore());
    clock = createManualClock();
    outcomes = [];
    writer = new LatestWriter(store, clock, (failure) => {
      outcomes.push(failure instanceof CodedError ? failure.code : failure === undefined ? undefined : "too large");
    });
  });
  afterEach(() => store.close());

  const content = async (): Promise<Record<string, string>> => Object.fromEntries((await store.list("")).items.map(({ key, value }) => [key, value]));
  const told = (count: number): Promise<unknown> => waitUntil(() => outcomes.length >= count, { what: `${count} outcomes`, intervalMs: 1 });

  it("keeps what a store did not take, and writes it when the store is well", async () => {
    writer.write("gone", "1");
    await told(1);
    store.isBroken = true;
    writer.write("a", "1");
    writer.write("b", "1");
    writer.write("gone", undefined);
    await told(4);
    clock.advance(LONGEST_PAUSE_MS);
    await told(7);
    assert.deepEqual(outcomes, [undefined, ...Array.from({ length: 6 }, () => "MESH_STORE_FAILED")]);
    writer.write("b", "2");
    await told(8);
    store.isBroken = false;
    clock.advance(LONGEST_PAUSE_MS);
    await told(9);
    await writer.close();
    assert.deepEqual(await content(), { a: "1", b: "2" });
    assert.deepEqual(outcomes.slice(8), [undefined], "all is well when all of it is written, not before");
  });

  it("writes what is new at once, whatever waits for its next attempt", async () => {
    store.isBroken = true;
    writer.write("a", "1");
    await told(1);
    store.isBroken = false;
    writer.write("b", "1");
    await waitUntil(async () => (await content())["b"] === "1", { what: "the new value", intervalMs: 1 });
    assert.deepEqual(outcomes, ["MESH_STORE_FAILED"], "the old one is still not there");
    await writer.close();
    assert.deepEqual(await content(), { a: "1", b: "1" }, "closing tries once more");
  });

  it("hands the store many at a time, and of each key one value after the other", async () => {
    const memory = createMemoryStore();
    let open = 0;
    let most = 0;
    const openKeys = new Set<string>();
    let hasOverlapped = false;
    const slow = new LatestWriter({ ...memory, async txn(comparisons, operations) {
      const keys = operations.map(({ key }) => key);
      hasOverlapped ||= keys.some((key) => openKeys.has(key));
      for (const key of keys) openKeys.add(key);
      most = Math.max(most, (open += 1));
      await new Promise(setImmediate);
      open -= 1;
      for (const key of keys) openKeys.delete(key);
      return memory.txn(comparisons, operations);
    } }, clock, (failure) => outcomes.push(failure === undefined ? undefined : "failed"));
    for (let round = 0; round < 3; round += 1) {
      for (let key = 0; key < 500; key += 1) slow.write(`k${key}`, String(round));
      await new Promise(setImmediate);
    }
    await slow.close();
    assert.ok(most > 1 && most <= 100, `${most} at a time`);
    assert.equal(hasOverlapped, false);
    assert.deepEqual(new Set((await memory.list("")).items.map(({ value }) => value)), new Set(["2"]));
    assert.equal((await memory.list("")).items.length, 500);
    assert.equal(outcomes.at(-1), undefined);
  });

  it("says that all is well only when all that is on its way is written", async () => {
    const settle: (() => void)[] = [];
    const stuck = new LatestWriter({ ...createMemoryStore(), txn: (_comparisons, operations) => new Promise((resolve, reject) => {
      const [one] = operations;
      settle.push(() => (one?.key === "bad" ? reject(new CodedError("MESH_STORE_FAILED", "no")) : resolve({ committed: true, revision: 1 })));
    }) }, clock, (failure) => outcomes.push(failure === undefined ? undefined : "failed"));
    stuck.write("good", "1");
    stuck.write("bad", "1");
    await waitUntil(() => settle.length === 2, { what: "both on their way", intervalMs: 1 });
    for (const end of settle.splice(0)) {
      end();
      await new Promise(setImmediate);
    }
    assert.deepEqual(outcomes, ["failed"]);
    const closing = stuck.close();
    await waitUntil(() => settle.length === 1, { what: "the last attempt", intervalMs: 1 });
    for (const end of settle) end();
    await closing;
  });

  it("does not try again what is too large for any store", async () => {
    writer.write("large", "x".repeat(storeLimits.valueBytes + 1));
    writer.write("small", "x");
    await waitUntil(async () => (await content())["small"] === "x", { what: "the small one", intervalMs: 1 });
    clock.advance(LONGEST_PAUSE_MS);
    assert.deepEqual(outcomes, ["too large"]);
    writer.write("large", "x");
    await writer.close();
    assert.deepEqual(outcomes, ["too large", undefined]);
  });
});
