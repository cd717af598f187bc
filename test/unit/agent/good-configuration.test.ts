import assert from "node:assert/strict";
import { keepGoodConfiguration } from "../../../agent/good-configuration.ts";
import { createStandIns } from "../../../agent/stand-ins.ts";
import { silentLogger } from "../../../base/logger.ts";
import { createResource } from "../../../xds/resource.ts";
import { createResourceSet } from "../../../xds/resource-set.ts";
import { TYPE_URLS } from "../../../xds/type-urls.ts";
import { createManualClock } from "../../support/manual-clock.ts";

describe("the configuration that has been good", () => {
  /** One resource that changes, and when it was saved, by the time that passes. */
  function keep(isFirst = true) {
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
    return {
      clock,
      saved,
      change: (sizeBytes: number, version: number) => resources.update((transaction) => transaction.upsert(createResource(TYPE_URLS.cluster, "it", Buffer.alloc(sizeBytes, version)))),
      async pass(looks: number) {
        for (let look = 0; look < looks; look += 1) {
          clock.advance(500);
          // A save is over.
          await new Promise((resolve) => setImmediate(resolve));
        }
      },
      close: () => kept.close(),
    };
  }

  /** Changes one resource of a size every half second, and gives how often it was saved in a minute. */
  async function savesOf(sizeBytes: number, changes: number): Promise<number> {
    const kept = keep();
    for (let step = 0; step < 120; step += 1) {
      if (step < changes) kept.change(sizeBytes, step + 1);
      await kept.pass(1);
    }
    await kept.close();
    return kept.saved.length;
  }

  it("is saved once, and again only where something changed", async () => {
    assert.equal(await savesOf(1_000, 1), 1);
  });

  it("is on disk some seconds after a change, where it is small", async () => {
    const kept = keep();
    for (const version of [1, 2]) {
      kept.change(1_000, version);
      await kept.pass(8);
    }
    assert.equal(kept.saved.length, 2);
    assert.ok((kept.saved[1] ?? Infinity) <= 8_000, String(kept.saved));
    await kept.close();
  });

  it("is not good sooner because somebody set the clock, nor later", async () => {
    for (const [stepMs, isFirst] of [[3_600_000, true], [-12_000, true], [3_600_000, false], [-12_000, false]] as const) {
      const kept = keep(isFirst);
      kept.change(1_000, 1);
      await kept.pass(8);
      kept.change(1_000, 2);
      await kept.pass(1);
      kept.clock.step(stepMs);
      await kept.pass(7);
      await kept.close();
      // Two seconds after each was looked at first; at once where there was nothing.
      assert.deepEqual(kept.saved, [isFirst ? 500 : 2_500, 6_500], `set by ${stepMs} ms`);
    }
  });

  it("is not written all the time, where it is large or never stands still", async () => {
    const changing = await savesOf(1_000, 120);
    assert.ok(changing >= 1 && changing <= 3, `${changing} times`);
    const large = await savesOf(2_000_000, 120);
    assert.ok(large >= 1 && large <= 3, `${large} times`);
  });
});
