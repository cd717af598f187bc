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
