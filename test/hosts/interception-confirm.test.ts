import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { access } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { applyCapture, applyCaptureWithConfirm, readCaptureStatus, recoverCapture, revertCapture, verifyCapture } from "../../agent/interception/apply.ts";
import type { CaptureTarget } from "../../agent/interception/apply.ts";
import type { CaptureAgentArguments } from "../support/capture-agent.ts";
import { backendOf, CAPTURE_VARIANTS, PORT, soundPlan, SPEC, startCaptureScenario, UID } from "../support/capture-scenario.ts";
import type { CaptureScenario } from "../support/capture-scenario.ts";
import { networkState } from "../support/network-state.ts";
import { waitUntil } from "../support/wait-until.ts";

const AT_ONCE = { guard: "remove", drainTimeoutMs: 0 } as const;
const PLAN = soundPlan(SPEC);
/** With fewer chains than PLAN, and the second workload's listener for both: a connection shows which of the two plans holds. */
const OTHER_PLAN = soundPlan({ ...SPEC, inbound: [], outbound: [{ workload: "both", match: { uids: [UID.one, UID.two] }, outboundPort: PORT.outTwo }] });
const AGENT = fileURLToPath(new URL("../support/capture-agent.ts", import.meta.url));

for (const variant of CAPTURE_VARIANTS) {
  describe(`confirming interception with ${variant}`, function () {
    this.timeout(180_000);
    let scenario: CaptureScenario;
    let target: CaptureTarget;
    let untouched = "";

    before(async function () {
      scenario = (await startCaptureScenario(variant)) ?? this.skip();
      target = scenario.target;
    });
    after(() => scenario?.close());
    beforeEach(async () => {
      untouched = await networkState(scenario.a);
    });
    afterEach(async () => {
      await revertCapture(target, AT_ONCE);
      assert.equal(await networkState(scenario.a), untouched, "the host is not as it was");
      await assert.rejects(access(target.recordPath), "the record of nothing");
    });

    const landing = (uid: number): Promise<string> => scenario.land(scenario.a, { uid, host: scenario.b.addresses.v4, port: PORT.plain });

    it("keeps a confirmed plan, and goes back to it from one that is not", async () => {
      const options = { timeoutMs: 30_000, drainTimeoutMs: 0 };
      assert.equal(await applyCaptureWithConfirm(target, PLAN, { ...options, confirm: async () => (await landing(UID.one)) === "out-one" }), "confirmed");
      assert.equal(await landing(UID.one), "out-one");
      for (const confirm of [() => Promise.resolve(false), () => Promise.reject(new Error("unreachable")), () => new Promise<boolean>(() => {})]) {
        assert.equal(await applyCaptureWithConfirm(target, OTHER_PLAN, { confirm, timeoutMs: 500, drainTimeoutMs: 0 }), "reverted");
        assert.equal(await landing(UID.one), "out-one");
        assert.equal((await readCaptureStatus(target))?.isPending, false);
      }
      assert.deepEqual(await verifyCapture(target), []);
    });

    it("goes back to nothing where nothing was confirmed", async () => {
      assert.equal(await applyCaptureWithConfirm(target, PLAN, { confirm: () => Promise.resolve(false), timeoutMs: 500, drainTimeoutMs: 0 }), "reverted");
      assert.equal(await networkState(scenario.a), untouched);
    });

    it("goes back all the same when it hung on the way, and a process of its own did it meanwhile", async () => {
      let isHanging = false;
      const hanging: CaptureTarget = {
        ...target,
        runner: {
          ...target.runner,
          async run(command, args, input) {
            if (isHanging) await waitUntil(async () => (await readCaptureStatus(target)) === undefined, { what: "the reverter" });
            isHanging = false;
            return target.runner.run(command, args, input);
          },
        },
      };
      const confirm = (): Promise<boolean> => {
        isHanging = true;
        return Promise.resolve(false);
      };
      assert.equal(await applyCaptureWithConfirm(hanging, PLAN, { confirm, timeoutMs: 1, drainTimeoutMs: 0, returnGraceMs: 100 }), "reverted");
      assert.equal(isHanging, false);
      assert.equal(await networkState(scenario.a), untouched);
    });

    const restore = variant === "nft" ? "nft -f" : "ip6tables-restore";
    const moments: readonly (readonly [when: string, killed: CaptureAgentArguments["killed"]])[] = [
      ["before its rules are all in force", { phase: "apply", before: restore }],
      ["while it waits", { phase: "confirm" }],
      ["as it begins to go back by itself", { phase: "return" }],
      ["half way back", { phase: "return", before: restore }],
    ];
    for (const [when, killed] of moments) {
      it(`goes back to nothing by a process of its own when the agent is killed ${when}`, async () => {
        await killAgent({ killed, timeoutMs: 1 });
        assert.notEqual(await networkState(scenario.a), untouched);
        await waitUntil(async () => (await readCaptureStatus(target)) === undefined, { what: "the reverter" });
        assert.equal(await networkState(scenario.a), untouched);
      });

      it(`goes back to the confirmed plan by a process of its own when the agent is killed ${when}`, async () => {
        await applyCapture(target, OTHER_PLAN);
        const confirmed = await rules();
        await killAgent({ killed, timeoutMs: 1 });
        await waitUntil(async () => (await landing(UID.one)) === "out-two" && (await readCaptureStatus(target))?.isPending === false, { what: "the reverter" });
        await waitUntil(async () => (await rules()) === confirmed, { what: "the rules of before" }).catch(async () => assert.equal(await rules(), confirmed));
        assert.deepEqual((await readCaptureStatus(target))?.plan, OTHER_PLAN);
        await recoverCapture(target, { drainTimeoutMs: 0 });
        assert.deepEqual(await verifyCapture(target), []);
      });
    }

    for (const isConfirmedBefore of [false, true]) {
      it(`goes back to ${isConfirmedBefore ? "the confirmed plan" : "nothing"} at once when the killed agent starts again`, async () => {
        if (isConfirmedBefore) await applyCapture(target, OTHER_PLAN);
        await killAgent({ killed: { phase: "confirm" }, timeoutMs: 600_000 });
        assert.equal(await landing(UID.one), "out-one");
        assert.equal((await readCaptureStatus(target))?.isPending, true);
        const record = await recoverCapture(target, { drainTimeoutMs: 0 });
        assert.deepEqual(record?.plan, isConfirmedBefore ? OTHER_PLAN : undefined);
        assert.equal(await landing(UID.one), isConfirmedBefore ? "out-two" : "b-app");
        const { code, stdout } = await scenario.a.run("pgrep", ["-f", "capture-reverter/revert.sh"]);
        assert.deepEqual({ code, stdout }, { code: 1, stdout: "" }, "the countdown still runs");
      });
    }

    /** Our rules alone, in no order: a chain that was made anew is listed last, and iptables' own empty chains stay while others are there. */
    async function rules(): Promise<string> {
      const state = await networkState(scenario.a);
      const isOurs = variant === "nft" ? /^\t/ : /IRONMESH_/;
      return state.split("\n").filter((line) => isOurs.test(line)).sort().join("\n");
    }

    /** An agent that applies PLAN and is killed by SIGKILL. */
    async function killAgent(how: Pick<CaptureAgentArguments, "killed" | "timeoutMs">): Promise<void> {
      const args: CaptureAgentArguments = { prefix: scenario.commandPrefix, backend: backendOf(variant), recordPath: target.recordPath, plan: PLAN, ...how };
      const agent = spawn(process.execPath, [AGENT, JSON.stringify(args)], { stdio: ["ignore", "inherit", "inherit"] });
      const [, signal] = (await once(agent, "close")) as [number | null, NodeJS.Signals | null];
      assert.equal(signal, "SIGKILL");
    }
  });
}
