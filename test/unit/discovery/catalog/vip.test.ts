import assert from "node:assert/strict";
import { addressAt, VipAllocator } from "../../../../discovery/catalog/vip.ts";
import type { KeyValueStore } from "../../../../store/key-value.ts";
import { createMemoryStore } from "../../../../store/memory.ts";

const DAY_MS = 24 * 3_600_000;

describe("virtual addresses", () => {
  let store: KeyValueStore;
  let now: number;

  beforeEach(() => {
    store = createMemoryStore();
    now = 1_000;
  });

  const load = (ipv4 = "240.240.0.0/16"): Promise<VipAllocator> => VipAllocator.load({ store, ranges: [ipv4, "2001:2::/48"], now: () => now });
  const services = (count: number, prefix = "s"): string[] => Array.from({ length: count }, (_, at) => `default/${prefix}${at}`);

  it("are one of each family, and unique", async () => {
    const vips = await load();
    await vips.allocate(services(300));
    const all = services(300).flatMap((service) => vips.get(service));
    assert.equal(new Set(all).size, 600);
    for (const [ipv4, ipv6] of services(300).map((service) => vips.get(service))) {
      assert.match(ipv4 ?? "", /^240\.240\.\d+\.\d+$/);
      assert.match(ipv6 ?? "", /^2001:2::[0-9a-f]+$/);
    }
  });

  it("are the same after a restart, and when they are asked for again", async () => {
    const vips = await load();
    await vips.allocate(services(10));
    const before = services(10).map((service) => vips.get(service));
    await vips.allocate(services(10));
    const restarted = await load();
    await restarted.allocate(services(10).toReversed());
    assert.deepEqual(services(10).map((service) => restarted.get(service)), before);
  });

  it("are never given twice by replicas that allocate at once", async () => {
    const [one, other] = [await load(), await load()];
    await Promise.all([one.allocate(services(60, "a")), other.allocate(services(60, "b")), one.allocate(services(60, "c")), other.allocate(services(60, "c"))]);
    const [fresh] = [await load()];
    const names = [...services(60, "a"), ...services(60, "b"), ...services(60, "c")];
    const all = names.flatMap((service) => fresh.get(service));
    assert.equal(new Set(all).size, all.length);
    assert.equal(all.length, 360);
    for (const service of services(60, "a")) assert.deepEqual(one.get(service), fresh.get(service));
    for (const service of services(60, "b")) assert.deepEqual(other.get(service), fresh.get(service));
    for (const service of services(60, "c")) {
      assert.deepEqual(one.get(service), fresh.get(service));
      assert.deepEqual(other.get(service), fresh.get(service));
    }
  });

  it("are the same for replicas that allocate for one service at once, one of them a little later", async () => {
    for (let turns = 0; turns < 20; turns += 1) {
      store = createMemoryStore();
      const [one, other] = [await load(), await load()];
      const later = async (): Promise<void> => {
        for (let turn = 0; turn < turns; turn += 1) await Promise.resolve();
        await other.allocate(["default/a", "default/b"]);
      };
      await Promise.all([one.allocate(["default/b"]).then(() => one.allocate(["default/a"])), later()]);
      for (const service of ["default/a", "default/b"]) assert.deepEqual(other.get(service), one.get(service), `${turns} turns later`);
      assert.equal((await store.list("vip/")).items.length, 2, `${turns} turns later`);
    }
  });

  it("are the same for replicas that allocate for the same services in different orders, many at once", async () => {
    for (let round = 0; round < 20; round += 1) {
      const memory = createMemoryStore();
      let draws = round;
      const pause = async (): Promise<void> => {
        for (let turns = (draws = (draws * 7_919 + 13) % 10_007) % 5; turns > 0; turns -= 1) await new Promise(setImmediate);
      };
      store = {
        ...memory,
        get: (key) => pause().then(() => memory.get(key)),
        txn: (...about) => pause().then(() => memory.txn(...about)),
      };
      const [one, other] = [await load("240.240.0.0/22"), await load("240.240.0.0/22")];
      const names = services(500, `r${round}-`);
      await Promise.all([one.allocate(names), other.allocate(names.toReversed())]);
      const fresh = await load("240.240.0.0/22");
      assert.deepEqual(names.map((service) => other.get(service)), names.map((service) => one.get(service)), `round ${round}`);
      assert.deepEqual(names.map((service) => fresh.get(service)), names.map((service) => one.get(service)), `round ${round}`);
      assert.equal(new Set(names.flatMap((service) => one.get(service))).size, 1_000, `round ${round}`);
    }
  });

  it("are kept where some of many cannot be written, and the others come later", async () => {
    let writes = 0;
    let most = 0;
    let open = 0;
    const torn: KeyValueStore = {
      ...store,
      async txn(comparisons, operations) {
        most = Math.max(most, (open += 1));
        await new Promise(setImmediate);
        open -= 1;
        writes += 1;
        if (writes === 2) throw new Error("the disk is full");
        return store.txn(comparisons, operations);
      },
    };
    const vips = await VipAllocator.load({ store: torn, ranges: ["240.240.0.0/16", "2001:2::/48"], now: () => now });
    await assert.rejects(vips.allocate(services(300)), /disk is full/);
    assert.equal(open, 0, "nothing is on its way any more");
    assert.ok(most > 1, "many are written together");
    const first = new Map(services(300).flatMap((service) => (vips.get(service).length === 0 ? [] : [[service, vips.get(service)] as const])));
    assert.ok(first.size > 200 && first.size < 300, `${first.size} have theirs`);
    await vips.allocate(services(300));
    const fresh = await load();
    for (const service of services(300)) {
      assert.equal(fresh.get(service).length, 2);
      assert.deepEqual(vips.get(service), first.get(service) ?? fresh.get(service));
    }
  });

  it("rest for a day before another service gets them, and come back to their own at once", async () => {
    const vips = await load("240.240.0.0/30");
    await vips.allocate(["default/a", "default/b"]);
    const [was] = vips.get("default/a");
    await vips.allocate(["default/late"]);
    assert.deepEqual(vips.get("default/late"), [], "the range is full");
    await vips.release("default/a");
    await vips.allocate(["default/late"]);
    assert.deepEqual(vips.get("default/late"), []);
    await vips.allocate(["default/a"]);
    assert.equal(vips.get("default/a")[0], was);
    await vips.release("default/a");
    now += DAY_MS + 1;
    await vips.allocate(["default/late"]);
    assert.equal(vips.get("default/late")[0], was);
    assert.deepEqual(vips.get("default/a"), []);
  });

  it("count through a range", () => {
    assert.equal(addressAt("240.240.0.0/16", 258), "240.240.1.2");
    assert.equal(addressAt("2001:2::/48", 0x1_0002), "2001:2::1:2");
  });
});
