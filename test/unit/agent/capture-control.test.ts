import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startCaptureControl } from "../../../agent/capture-control.ts";
import type { CaptureControl } from "../../../agent/capture-control.ts";
import { readCaptureStatus } from "../../../agent/interception/apply.ts";
import type { CaptureTarget } from "../../../agent/interception/apply.ts";
import type { CaptureSpec } from "../../../agent/interception/capture-spec.ts";
import { systemClock } from "../../../base/clock.ts";
import { silentLogger } from "../../../base/logger.ts";
import { waitUntil } from "../../support/wait-until.ts";

const SPEC: CaptureSpec = {
  proxyUid: 900,
  inboundListenerPort: 15_006,
  outbound: [{ workload: "one", match: { uids: [1001] }, outboundPort: 15_101 }],
  inbound: [],
  outboundScope: "all",
  exclusions: { ports: [], cidrs: [] },
  vips: { v4: ["240.240.0.0/16"], v6: [] },
  managementPorts: [],
};

describe("keeping the capture rules as they are wanted", () => {
  let folder = "";
  let control: CaptureControl | undefined;
  let target: CaptureTarget;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "ironmesh-control-"));
    // A host on which every command succeeds.
    const runner = { run: (command: string) => Promise.resolve({ code: 0, stdout: command === "cat" ? "0\n" : "", stderr: "" }), startDetached: () => 0 };
    target = { runner, backend: "nft", reverter: "process", recordPath: join(folder, "capture.json") };
  });
  afterEach(async () => {
    await control?.close();
    control = undefined;
    await rm(folder, { recursive: true });
  });

  it("has the first plan confirmed, and every one that closes other virtual addresses", async () => {
    let spec = SPEC;
    let isWell = true;
    let confirmations = 0;
    const started = startCaptureControl({
      target,
      wanted: () => Promise.resolve({ spec, stamp: "same", uncaptured: [] }),
      confirm: () => {
        confirmations += 1;
        return Promise.resolve(isWell);
      },
      drainMs: 0,
      clock: systemClock,
      logger: silentLogger,
      onChange: () => undefined,
    });
    control = started;
    await waitUntil(() => started.status().state === "active", { what: "the first plan" });
    assert.equal(confirmations, 1);

    spec = { ...SPEC, outboundScope: "vips" };
    started.poke();
    const rulesOf = async (): Promise<number> => (await readCaptureStatus(target))?.confirmed?.capture.outbound.length ?? 0;
    const before = await rulesOf();
    await waitUntil(async () => (await rulesOf()) < before, { what: "the narrower plan" });
    assert.equal(confirmations, 1, "nothing is closed that was open");

    // The network of the control plane, by mistake.
    spec = { ...spec, vips: { v4: ["10.0.0.0/8"], v6: [] } };
    isWell = false;
    started.poke();
    await waitUntil(() => started.status().state === "reverted", { what: "the range to be taken back" });
    assert.equal(confirmations, 2);
    assert.deepEqual((await readCaptureStatus(target))?.plan.vipRanges, SPEC.vips.v4);
  });

  it("gives name queries back at its end, and nothing else", async () => {
    const open = (dns?: CaptureSpec["dns"]): CaptureControl =>
      startCaptureControl({
        target,
        wanted: () => Promise.resolve(dns === undefined ? undefined : { spec: { ...SPEC, dns }, stamp: "same", uncaptured: [] }),
        confirm: () => Promise.resolve(true),
        drainMs: 0,
        clock: systemClock,
        logger: silentLogger,
        onChange: () => undefined,
      });
    const start = async (dns: CaptureSpec["dns"]): Promise<CaptureControl> => {
      const started = open(dns);
      await waitUntil(() => started.status().state === "active" && started.status().detail === "", { what: "the rules" });
      return started;
    };
    const planOf = async () => (await readCaptureStatus(target))?.plan;
    const withNames = await start({ port: 15_053, capture: true });
    const before = await planOf();
    assert.equal(before?.capture.dns_zone.length, 2);
    await withNames.releaseNames();
    const after = await planOf();
    assert.deepEqual(after?.capture.dns_zone, []);
    const isAboutNames = ({ match }: NonNullable<typeof before>["capture"]["outbound"][number]): boolean => match.destinationPorts?.includes(53) === true;
    assert.deepEqual(after?.capture.outbound, before?.capture.outbound.filter((rule) => !isAboutNames(rule)));
    assert.deepEqual(after?.guard, before?.guard);
    // The next agent captures them again.
    control = await start({ port: 15_053, capture: true });
    await waitUntil(async () => (await planOf())?.capture.dns_zone.length === 2, { what: "the rules for names" });
    await control.close();
    // And one that ends before its Envoy serves gives back what that one left.
    control = open();
    await control.releaseNames();
    assert.deepEqual((await planOf())?.capture, after?.capture);
  });

  it("does not take a record for rules: what a reboot took away is waited for until Envoy serves", async () => {
    const states: string[] = [];
    let isServed = true;
    let listed = "rules";
    const runner = { run: (command: string) => Promise.resolve({ code: 0, stdout: command === "cat" ? "0\n" : command === "nft" ? listed : "", stderr: "" }), startDetached: () => 0 };
    const start = (): CaptureControl =>
      startCaptureControl({
        target: { ...target, runner },
        wanted: () => Promise.resolve(isServed ? { spec: SPEC, stamp: "same", uncaptured: [] } : undefined),
        confirm: () => Promise.resolve(true),
        drainMs: 0,
        clock: systemClock,
        logger: silentLogger,
        onChange: () => {
          if (control !== undefined) states.push(control.status().state);
        },
      });
    const first = start();
    await waitUntil(() => first.status().state === "active", { what: "the first agent's rules" });
    await first.close();

    isServed = false;
    const second = start();
    await waitUntil(() => second.status().state === "active", { what: "the rules of before to be found" });
    await second.close();

    listed = "";
    const rebooted = start();
    control = rebooted;
    await waitUntil(() => rebooted.status().detail !== "", { what: "a word about the rules" });
    assert.match(rebooted.status().detail, /not the ones that were applied/);
    assert.deepEqual(states, ["waiting"], "it never counted as active");
    isServed = true;
    rebooted.poke();
    await waitUntil(() => rebooted.status().state === "active", { what: "the rules to be applied again" });
  });
});
