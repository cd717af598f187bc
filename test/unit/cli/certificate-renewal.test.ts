import assert from "node:assert/strict";
import { keepCertificateRenewed } from "../../../cli/control-plane/certificate-renewal.ts";
import { createManualClock } from "../../support/manual-clock.ts";
import { waitUntil } from "../../support/wait-until.ts";

const TTL_MS = 90 * 86_400_000;
const LONGEST_PAUSE_MS = 60_000;

describe("renewal of the control plane's certificate", () => {
  it("happens at half of its life, again and again, and soon after a failure", async () => {
    const clock = createManualClock();
    let [renewals, failures, isBroken] = [0, 0, false];
    const renew = async (): Promise<void> => {
      if (isBroken) throw new Error("the store is busy");
      renewals += 1;
    };
    const renewal = keepCertificateRenewed({ ttlMs: TTL_MS, clock, renew, onFailure: () => void (failures += 1) });
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
});
