import assert from "node:assert/strict";
import { keepCertificateRenewed } from "../../../cli/control-plane/certificate-renewal.ts";
import { createManualClock } from "../../support/manual-clock.ts";
import { waitUntil } from "../../support/wait-until.ts";

const TTL_MS = 90 * 86_400_000;
const HOUR_MS = 3_600_000;
const LONGEST_PAUSE_MS = 60_000;

describe("renewal of the control plane's certificate", () => {
  it("happens at half of its life, again and again, and soon after a failure", async () => {
    const clock = createManualClock();
    let [renewals, failures, isBroken] = [0, 0, false];
    const renew = async (): Promise<void> => {
      if (isBroken) throw new Error("the store is busy");
      renewals += 1;
    };
    const renewal = keepCertificateRenewed({ ttlMs: TTL_MS, backdateMs: 60_000, clock, renew, onFailure: () => void (failures += 1), onStep: () => assert.fail("nobody set the clock") });
    const renewed = (count: number): Promise<unknown> => waitUntil(() => renewals === count, { what: `renewal ${count}`, intervalMs: 1 });
    clock.advance(TTL_MS / 2 - 1);
    assert.equal(renewals, 0);
    clock.advance(1);
    await renewed(1);
    await new Promise(setImmediate);
    isBroken = true;
    clock.advance(TTL_MS / 2);
    await waitUntil(() => failures === 1, { what: "the failure", intervalMs: 1 });
    await new Promise(setImmediate);
    isBroken = false;
    clock.advance(LONGEST_PAUSE_MS);
    await renewed(2);
    await renewal.close();
    clock.advance(TTL_MS);
    assert.equal(renewals, 2);
  });

  it("sees a clock that is set within seconds, says so, and renews what would not hold by it", async () => {
    const clock = createManualClock();
    const steps: number[] = [];
    let renewals = 0;
    const renew = async (): Promise<void> => void (renewals += 1);
    const renewal = keepCertificateRenewed({ ttlMs: 24 * HOUR_MS, backdateMs: 60_000, clock, renew, onFailure: () => {}, onStep: (stepMs) => steps.push(stepMs / HOUR_MS) });
    const step = async (hours: number): Promise<readonly [number | undefined, number]> => {
      clock.step(hours * HOUR_MS);
      clock.advance(15_000);
      await new Promise(setImmediate);
      return [steps.at(-1), renewals];
    };
    assert.deepEqual(await step(11), [11, 0], "it holds for more than its half");
    assert.deepEqual(await step(-11), [-11, 0]);
    assert.deepEqual(await step(25), [25, 1], "it had expired, as after a machine was suspended for a day");
    assert.deepEqual(await step(-25), [-25, 2], "it would hold only in a day");
    assert.deepEqual(await step(-3), [-3, 3]);
    assert.deepEqual(await step(0.005), [-3, 3], "what a clock that is kept right is moved by");
    await renewal.close();
  });
});
