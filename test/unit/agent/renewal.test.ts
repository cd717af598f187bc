import assert from "node:assert/strict";

import type { HeldCertificate } from "../../../agent/certificate.ts";
import { findWrongTimes, keepRenewed, renewalState, renewalTimeMs } from "../../../agent/renewal.ts";
import { silentLogger } from "../../../base/logger.ts";
import { SecretBytes } from "../../../base/secret-bytes.ts";

const HOUR = 3_600_000;

function certificate(notBeforeMs: number, notAfterMs: number, serial = "00ffffff"): HeldCertificate {
  return { spiffeId: { trustDomain: "mesh.internal", path: "/host/a" }, serial, notBeforeMs, notAfterMs, chain: "", privateKey: new SecretBytes("") };
}

/** Time that stands still until the test moves it. */
function testClock(start: number) {
  let now = start;
  const timers = new Map<symbol, { readonly at: number; readonly callback: () => void }>();
  let elapsed = 0;
  return {
    now: () => now,
    elapsed: () => elapsed,
    after(delayMs: number, callback: () => void) {
      const key = Symbol("timer");
      timers.set(key, { at: elapsed + delayMs, callback });
      return () => void timers.delete(key);
    },
    /** What a machine does whose wall clock is set: timers see nothing of it. */
    jump(byMs: number) {
      now += byMs;
    },
    async pass(byMs: number) {
      const end = elapsed + byMs;
      for (;;) {
        const due = [...timers].filter(([, timer]) => timer.at <= end).toSorted((a, b) => a[1].at - b[1].at)[0];
        if (due === undefined) break;
        now += due[1].at - elapsed;
        elapsed = due[1].at;
        timers.delete(due[0]);
        due[1].callback();
        for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
      }
      now += end - elapsed;
      elapsed = end;
    },
  };
}

describe("renewal of certificates", () => {
  it("is due between two fifths and half of the life, the same for the same certificate", () => {
    assert.equal(renewalTimeMs(certificate(0, 10 * HOUR, "00000000")), 5 * HOUR);
    assert.equal(renewalTimeMs(certificate(0, 10 * HOUR, "00ffffff")), 4 * HOUR);
    const times = ["00000000", "00123456", "0089abcd", "00ffffff"].map((serial) => renewalState(certificate(0, 10 * HOUR, serial), 4.5 * HOUR));
    assert.deepEqual(times, ["fresh", "fresh", "due", "due"]);
  });

  it("knows when the outage budget runs out, and what the clock does to it", () => {
    const one = certificate(0, 10 * HOUR);
    assert.deepEqual([-1, 1, 4 * HOUR, 7 * HOUR, 10 * HOUR].map((now) => renewalState(one, now)), ["not-yet-valid", "fresh", "due", "late", "expired"]);
    assert.equal(renewalState(undefined, 0), "missing");
  });

  it("renews at its time, tries again after a failure, and sees a clock that jumps", async () => {
    const clock = testClock(0);
    let current = certificate(0, 10 * HOUR);
    let attempts = 0;
    let isAway = false;
    const renewal = keepRenewed({
      what: "it",
      current: () => current,
      async renew() {
        attempts += 1;
        if (isAway) throw new Error("away");
        current = certificate(clock.now(), clock.now() + 10 * HOUR);
      },
      clock,
      logger: silentLogger,
      random: () => 0,
    });
    await clock.pass(3.9 * HOUR);
    assert.equal(attempts, 0);
    await clock.pass(0.2 * HOUR);
    assert.equal(attempts, 1);
    clock.jump(20 * HOUR);
    await clock.pass(20_000);
    assert.equal(attempts, 2);
    isAway = true;
    clock.jump(5 * HOUR);
    await clock.pass(60_000);
    assert.ok(attempts > 4, "it was not tried again");
    assert.ok(attempts < 20, "it was tried too often");
    isAway = false;
    renewal.poke();
    await clock.pass(1);
    assert.equal(renewalState(current, clock.now()), "fresh");
    await renewal.close();
    const before = attempts;
    await clock.pass(20 * HOUR);
    assert.equal(attempts, before);
  });

  it("asks again for a certificate that does not hold yet, as one whose clock was ahead signs it, and says so", async () => {
    const clock = testClock(0);
    let aheadMs = 5 * HOUR;
    const sign = (): HeldCertificate => certificate(clock.now() + aheadMs, clock.now() + aheadMs + 10 * HOUR);
    let current = sign();
    const loud: string[] = [];
    const renewal = keepRenewed({
      what: "it",
      current: () => current,
      renew: async () => void (current = sign()),
      clock,
      logger: { ...silentLogger, error: (_facts: unknown, message?: string) => void loud.push(message ?? "") },
      random: () => 0,
    });
    await clock.pass(60_000);
    assert.match(loud.join(), /^it is not valid yet: [^,]*clock[^,]*, or that of the control plane was ahead$/);
    aheadMs = 0;
    await clock.pass(120_000);
    assert.equal(renewalState(current, clock.now()), "fresh");
    await renewal.close();
  });

  it("keeps one that holds from one that does not, and takes what there is where neither does", () => {
    const held = certificate(0, 10 * HOUR);
    assert.equal(findWrongTimes(certificate(HOUR, 11 * HOUR), held, 2 * HOUR), undefined);
    assert.match(findWrongTimes(certificate(3 * HOUR, 13 * HOUR), held, 2 * HOUR) ?? "", /^it holds from 1970-01-01T03:00:00.000Z until .* clock of the control plane/);
    assert.match(findWrongTimes(certificate(-9 * HOUR, HOUR), held, 2 * HOUR) ?? "", /^it holds from/);
    for (const before of [undefined, certificate(-9 * HOUR, HOUR)]) assert.equal(findWrongTimes(certificate(3 * HOUR, 13 * HOUR), before, 2 * HOUR), undefined);
  });

  it("complains loudly once the budget is half gone, and not all the time", async () => {
    const clock = testClock(0);
    const loud: string[] = [];
    const renewal = keepRenewed({
      what: "it",
      current: () => certificate(0, 10 * HOUR),
      renew: () => Promise.reject(new Error("away")),
      clock,
      logger: { ...silentLogger, error: (_facts: unknown, message?: string) => void loud.push(message ?? "") },
      random: () => 0,
    });
    await clock.pass(6.9 * HOUR);
    assert.deepEqual(loud, []);
    await clock.pass(0.2 * HOUR);
    assert.match(loud[0] ?? "", /less than half of the outage budget/);
    await clock.pass(3 * HOUR);
    assert.match(loud.at(-1) ?? "", /EXPIRED/);
    assert.ok(loud.length < 25, `${loud.length} complaints`);
    await renewal.close();
  });
});
