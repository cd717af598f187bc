import assert from "node:assert/strict";
import { type AddressAllocation, createAddressAllocation } from "../../../../discovery/catalog/address-allocation.ts";
import { VipAllocator } from "../../../../discovery/catalog/vip.ts";
import { createMemoryStore } from "../../../../store/memory.ts";
import type { KeyValueStore } from "../../../../store/key-value.ts";
import { createManualClock, type ManualClock } from "../../../support/manual-clock.ts";
import { waitUntil } from "../../../support/wait-until.ts";

describe("addresses on their way from the store", () => {
  let writes: number;
  /** The store writes when it is open. */
  let gate: Promise<void>;
  let store: KeyValueStore;
  let vips: VipAllocator;
  let claimed: Set<string>;
  let shown: string[][];
  let allocation: AddressAllocation;
  let clock: ManualClock;
  let failures: number;
  let failuresExpected: number;
  /** Of a write, by its text. */
  let isRefused: (written: string) => boolean;

  beforeEach(async () => {
    writes = 0;
    failures = 0;
    failuresExpected = 0;
    isRefused = () => false;
    clock = createManualClock();
    const memory = createMemoryStore();
    gate = Promise.resolve();
    store = {
      ...memory,
      async txn(...given) {
        writes += 1;
        await gate;
        if (isRefused(JSON.stringify(given))) throw new Error("disk full");
        return memory.txn(...given);
      },
    };
    vips = await VipAllocator.load({ store, ranges: ["240.240.0.0/16", "2001:2::/48"], now: () => 1_000 });
    claimed = new Set();
    shown = [];
    allocation = createAddressAllocation({
      vips,
      clock,
      isClaimed: (key) => claimed.has(key),
      stillWanting: (keys) => [...keys],
      show: (keys) => shown.push([...keys]),
      onFailure: () => (failures += 1),
    });
  });
  afterEach(async () => {
    await allocation.close();
    assert.equal(failures, failuresExpected);
  });
  /** Lets what failed be tried once more. */
  const retry = async (): Promise<void> => {
    await allocation.settled();
    clock.advance(60_000);
    await allocation.settled();
  };

  const come = (...keys: string[]): void => {
    for (const key of keys) claimed.add(key);
    allocation.request(keys, keys);
  };
  const go = (key: string): void => {
    claimed.delete(key);
    allocation.request([], [key]);
  };

  it("are asked for together, while others are on their way", async () => {
    for (const key of ["a/a", "a/b", "a/c", "a/d"]) come(key);
    await Promise.resolve();
    for (const key of ["a/e", "a/f"]) come(key);
    await allocation.settled();
    assert.deepEqual(shown, [["a/a", "a/b", "a/c", "a/d"], ["a/e", "a/f"]]);
    assert.equal(writes, 2);
  });

  it("are no work for who has them", async () => {
    come("a/a");
    await allocation.settled();
    let isOver = false;
    allocation.request(["a/a"], ["a/a"], () => (isOver = true));
    assert.ok(isOver);
    await allocation.settled();
    assert.deepEqual([shown.length, writes], [1, 1]);
  });

  it("are taken back by who comes again while they are released", async () => {
    come("a/a");
    await allocation.settled();
    const before = vips.held("a/a");
    const { promise, resolve: open } = Promise.withResolvers<void>();
    gate = promise;
    go("a/a");
    await waitUntil(() => writes === 2, { what: "the release has begun" });
    come("a/a");
    open();
    await allocation.settled();
    assert.deepEqual(vips.held("a/a"), before);
    const [stored] = (await store.list("vip/")).items;
    assert.equal((JSON.parse(stored?.value ?? "{}") as { releasedAt?: number }).releasedAt, undefined);
  });

  it("are released where nobody came again", async () => {
    come("a/a", "a/b");
    await allocation.settled();
    go("a/a");
    await allocation.settled();
    assert.deepEqual([vips.held("a/a").length, vips.held("a/b").length], [0, 2]);
  });

  it("are released many at a time, so that who comes meanwhile does not wait for each", async () => {
    const keys = Array.from({ length: 100 }, (_, at) => `a/s${at}`);
    come(...keys);
    await allocation.settled();
    const { promise, resolve: open } = Promise.withResolvers<void>();
    gate = promise;
    const before = writes;
    for (const key of keys) go(key);
    await waitUntil(() => writes >= before + 64, { what: "many releases at once" });
    open();
    await allocation.settled();
    assert.deepEqual(keys.filter((key) => vips.held(key).length > 0), []);
  });

  it("are shown, too, where the store took them and not those of others that were asked for with them", async () => {
    const keys = Array.from({ length: 200 }, (_, at) => `a/s${at}`);
    isRefused = (written) => written.includes("a/s150\\");
    come(...keys);
    await allocation.settled();
    assert.ok(vips.held("a/s0").length > 0 && vips.held("a/s150").length === 0, "some have theirs");
    isRefused = () => false;
    await retry();
    assert.deepEqual(shown.flat().sort(), [...keys].sort());
    failuresExpected = 1;
  });

  it("are shown where those of services that are gone cannot be released", async () => {
    come("a/a");
    await allocation.settled();
    isRefused = (written) => written.includes("releasedAt");
    go("a/a");
    come("a/b");
    await allocation.settled();
    assert.deepEqual(shown, [["a/a"], ["a/b"]]);
    isRefused = () => false;
    await retry();
    assert.deepEqual(vips.held("a/a"), []);
    failuresExpected = 1;
  });
});
