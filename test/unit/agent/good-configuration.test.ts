import assert from "node:assert/strict";
import { keepGoodConfiguration } from "../../../agent/good-configuration.ts";
import { createStandIns } from "../../../agent/stand-ins.ts";
import { silentLogger } from "../../../base/logger.ts";
import { createResource } from "../../../xds/resource.ts";
import { createResourceSet } from "../../../xds/resource-set.ts";
import { TYPE_URLS } from "../../../xds/type-urls.ts";
import { createManualClock } from "../../support/manual-clock.ts";

describe("the configuration that has been good", () => {
  /** Changes one resource of a size every half second, and gives how often it was saved in a minute. */
  async function savesOf(sizeBytes: number, changes: number): Promise<number> {
    const clock = createManualClock();
    const resources = createResourceSet();
    let saves = 0;
    const kept = keepGoodConfiguration({
      lastKnownGood: {
        load: async () => undefined,
        async save() {
          saves += 1;
        },
      },
      isFirst: true,
      standIns: createStandIns(resources, [TYPE_URLS.cluster], []),
      envoy: () => [],
      isSettled: () => true,
      isWorthKeeping: () => resources.size(TYPE_URLS.cluster) > 0,
      clock,
      logger: silentLogger,
    });
    for (let step = 0; step < 120; step += 1) {
      if (step < changes) resources.update((transaction) => transaction.upsert(createResource(TYPE_URLS.cluster, "it", Buffer.alloc(sizeBytes, step + 1))));
      clock.advance(500);
      // A save is over.
      await new Promise((resolve) => setImmediate(resolve));
    }
    await kept.close();
    return saves;
  }

  it("is saved once, and again only where something changed", async () => {
    assert.equal(await savesOf(1_000, 1), 1);
  });

  it("is on disk some seconds after a change, where it is small", async () => {
    const clock = createManualClock();
    const resources = createResourceSet();
    const saved: number[] = [];
    const began = clock.now();
    const kept = keepGoodConfiguration({
      lastKnownGood: { load: async () => undefined, save: async () => void saved.push(clock.now() - began) },
      isFirst: true,
      standIns: createStandIns(resources, [TYPE_URLS.cluster], []),
      envoy: () => [],
      isSettled: () => true,
      isWorthKeeping: () => resources.size(TYPE_URLS.cluster) > 0,
      clock,
      logger: silentLogger,
    });
    for (const version of [1, 2]) {
      resources.update((transaction) => transaction.upsert(createResource(TYPE_URLS.cluster, "it", Buffer.alloc(1_000, version))));
      for (let step = 0; step < 8; step += 1) {
        clock.advance(500);
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
    assert.equal(saved.length, 2);
    assert.ok((saved[1] ?? Infinity) <= 8_000, String(saved));
    await kept.close();
  });

  it("is not good sooner because somebody set the clock, nor later", async () => {
    for (const [stepMs, isFirst] of [[3_600_000, true], [-12_000, true], [3_600_000, false], [-12_000, false]] as const) {
      const clock = createManualClock();
      const resources = createResourceSet();
      const saved: number[] = [];
      const kept = keepGoodConfiguration({
        lastKnownGood: { load: async () => undefined, save: async () => void saved.push(clock.elapsed()) },
        isFirst,
        standIns: createStandIns(resources, [TYPE_URLS.cluster], []),
        envoy: () => [],
        isSettled: () => true,
        isWorthKeeping: () => resources.size(TYPE_URLS.cluster) > 0,
        clock,
        logger: silentLogger,
      });
      for (const version of [1, 2]) {
        resources.update((transaction) => transaction.upsert(createResource(TYPE_URLS.cluster, "it", Buffer.alloc(1_000, version))));
        for (let look = 0; look < 8; look += 1) {
          clock.advance(500);
          // A save is over.
          await new Promise((resolve) => setImmediate(resolve));
          if (version === 2 && look === 0) clock.step(stepMs);
        }
      }
      await kept.close();
      // Two seconds after each was looked at first; at once where there was nothing.
      assert.deepEqual(saved, [isFirst ? 500 : 2_500, 6_500], `set by ${stepMs} ms`);
    }
  });

  it("is not written all the time, where it is large or never stands still", async () => {
    const changing = await savesOf(1_000, 120);
    assert.ok(changing >= 1 && changing <= 3, `${changing} times`);
    const large = await savesOf(2_000_000, 120);
    assert.ok(large >= 1 && large <= 3, `${large} times`);
  });
});
