import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { access, readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { applyCapture, applyCaptureWithConfirm, readCaptureStatus, recoverCapture, revertCapture, verifyCapture } from "../../agent/interception/apply.ts";
import type { CaptureTarget } from "../../agent/interception/apply.ts";
import { hostSnapshot, PORT, soundPlan, SPEC, startCaptureScenario, UID } from "../support/capture-scenario.ts";
import type { CaptureScenario } from "../support/capture-scenario.ts";
import { waitUntil } from "../support/wait-until.ts";

const AT_ONCE = { guard: "remove", drainTimeoutMs: 0 } as const;
const PLAN = soundPlan(SPEC);
/** As PLAN, with the second workload's listener for both: a connection shows which of the two plans holds. */
const OTHER_PLAN = soundPlan({ ...SPEC, outbound: [{ workload: "both", match: { uids: [UID.one, UID.two] }, outboundPort: PORT.outTwo }] });
const AGENT = fileURLToPath(new URL("../support/capture-agent.ts", import.meta.url));

for (const backend of ["nft", "iptables"] as const) {
  describe(`changing interception with ${backend}`, function () {
    this.timeout(180_000);
    let scenario: CaptureScenario;
    let target: CaptureTarget;
    let untouched = "";

    before(async () => {
      scenario = await startCaptureScenario(backend);
      target = scenario.target;
    });
    after(() => scenario.close());
    beforeEach(async () => {
      untouched = await hostSnapshot(scenario.a);
    });
    afterEach(async () => {
      await revertCapture(target, AT_ONCE);
      assert.equal(await hostSnapshot(scenario.a), untouched, "the host is not as it was");
      await assert.rejects(access(target.recordPath), "the record of nothing");
    });

    const landing = (uid: number): Promise<string> => scenario.land(scenario.a, { uid, host: scenario.b.addresses.v4, port: PORT.plain });

    it("lets connections live that were established before the first apply, through changes and the removal", async () => {
      const { a, b, hold } = scenario;
      const outbound = await Promise.all((["v4", "v6"] as const).map((family) => hold(a, { uid: UID.one, host: b.addresses[family], port: PORT.plain })));
      const inbound = await Promise.all((["v4", "v6"] as const).map((family) => hold(b, { uid: UID.root, host: a.addresses[family], port: PORT.strict })));
      const all = [...outbound, ...inbound];
      assert.deepEqual(all.map((held) => held.landedOn), ["b-app", "b-app", "app-one", "app-one"]);
      const assertAlive = async (when: string): Promise<void> => {
        for (const held of all) await held.echo(when);
      };
      await applyCapture(target, PLAN);
      await assertAlive("after the first apply");
      await applyCapture(target, OTHER_PLAN);
      await assertAlive("after a change");
      await revertCapture(target, AT_ONCE);
      await assertAlive("after the removal");
      for (const held of all) await held.close();
    });

    it("lets captured connections end by themselves while new ones bypass, then removes what is left", async () => {
      const { a, b, hold } = scenario;
      await applyCapture(target, PLAN);
      const held = [
        await hold(a, { uid: UID.one, host: b.addresses.v4, port: PORT.plain }),
        await hold(a, { uid: UID.two, host: "2001:2::9", port: PORT.plain }),
        await hold(b, { uid: UID.root, host: a.addresses.v6, port: PORT.strict }),
      ];
      assert.deepEqual(held.map((connection) => connection.landedOn), ["out-one", "out-two", "inbound"]);
      await applyCapture(target, OTHER_PLAN);
      for (const connection of held) await connection.echo("after a change of its own rule");
      let isRemoved = false;
      const removal = revertCapture(target, { guard: "remove", drainTimeoutMs: 60_000 }).then(() => (isRemoved = true));
      await waitUntil(async () => (await readCaptureStatus(target))?.capture === "drained" && (await landing(UID.one)) === "b-app", { what: "new connections to bypass" });
      for (let round = 0; round < 5; round += 1) {
        for (const connection of held) await connection.echo(`while draining ${round}`);
      }
      assert.equal(isRemoved, false, "removed under live connections");
      for (const connection of held) await connection.close();
      await removal;
      assert.equal(await hostSnapshot(a), untouched);
    });

    it("captures every connection through twenty changes under load, and fails none", async () => {
      const { a, b, load } = scenario;
      await applyCapture(target, PLAN);
      // Each waits for the whole way, so that the stand-ins are never asked for more than they can accept.
      const loads = [
        load(a, { uid: UID.two, host: b.addresses.v4, port: PORT.plain, lines: 3 }),
        load(a, { uid: UID.two, host: b.addresses.v6, port: PORT.plain, lines: 3 }),
        load(b, { uid: UID.root, host: a.addresses.v4, port: PORT.strict, lines: 2 }),
        load(b, { uid: UID.root, host: a.addresses.v6, port: PORT.open, lines: 2 }),
      ];
      for (let round = 0; round < 10; round += 1) {
        await applyCapture(target, OTHER_PLAN);
        await applyCapture(target, PLAN);
      }
      const results = await Promise.all(loads.map((running) => running.stop()));
      for (const [index, { landed, failed }] of results.entries()) {
        assert.deepEqual(failed, {}, `load ${index}`);
        assert.deepEqual(Object.keys(landed), [index < 2 ? "out-two" : "inbound"], `load ${index}`);
        assert.ok(Object.values(landed).every((count) => count > 20), `load ${index} was no load: ${JSON.stringify(landed)}`);
      }
    });

    it("gives the same rules to the byte, the hundredth time as the first", async () => {
      await applyCapture(target, PLAN);
      const first = await hostSnapshot(scenario.a);
      for (let round = 0; round < 100; round += 1) await applyCapture(target, PLAN);
      assert.equal(await hostSnapshot(scenario.a), first);
    });

    it("leaves the rules of others as they were", async () => {
      const { a } = scenario;
      // Tables that exist with one chain each, and rules that came while ours were there.
      await a.run("nft", ["-f", "-"], { input: "table inet firewall { chain input { type filter hook input priority 0; tcp dport 12345 drop; }\n}\n" });
      await a.run("iptables", ["-t", "nat", "-A", "OUTPUT", "-p", "tcp", "--dport", "4321", "-j", "REDIRECT", "--to-ports", "4322"]);
      const withOthers = await hostSnapshot(a);
      await applyCapture(target, PLAN);
      await a.run("ip6tables", ["-t", "nat", "-A", "OUTPUT", "-p", "tcp", "--dport", "4321", "-j", "REDIRECT", "--to-ports", "4322"]);
      await revertCapture(target, AT_ONCE);
      assert.match((await a.run("ip6tables-save", [])).stdout, /--dport 4321 -j REDIRECT/, "a rule that came later");
      await a.run("nft", ["delete", "table", "ip6", "nat"]);
      assert.equal(await hostSnapshot(a), withOthers);
      await a.run("nft", ["delete", "table", "ip", "nat"]);
      await a.run("nft", ["delete", "table", "inet", "firewall"]);
    });

    it("comes before others that rewrite destinations, as Docker and kube-proxy do", async () => {
      const { a, b } = scenario;
      await a.run("iptables", ["-t", "nat", "-A", "OUTPUT", "-p", "tcp", "-d", b.addresses.v4, "--dport", `${PORT.plain}`, "-j", "REDIRECT", "--to-ports", `${PORT.plain}`]);
      assert.equal(await landing(UID.one), "a-other");
      await applyCapture(target, PLAN);
      assert.equal(await landing(UID.one), "out-one");
      assert.equal(await landing(UID.stranger), "a-other");
      await revertCapture(target, AT_ONCE);
      await a.run("nft", ["delete", "table", "ip", "nat"]);
    });

    it("sees that somebody took the rules, a route or the address away, and mends it", async () => {
      const { a } = scenario;
      await applyCapture(target, PLAN);
      assert.deepEqual(await verifyCapture(target), []);
      await a.run("nft", ["flush", "ruleset"]);
      await a.run("ip", ["route", "flush", "table", "local", "proto", "119"]);
      await a.run("ip", ["-6", "address", "del", "::6/128", "dev", "lo"]);
      assert.deepEqual((await verifyCapture(target)).map((drift) => drift.kind), ["rules", "route", "address"]);
      await applyCapture(target, PLAN);
      assert.deepEqual(await verifyCapture(target), []);
      assert.equal(await landing(UID.one), "out-one");
    });

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
      assert.equal(await hostSnapshot(scenario.a), untouched);
    });

    for (const isConfirmedBefore of [false, true]) {
      const goal = isConfirmedBefore ? "the confirmed plan" : "nothing";
      it(`goes back to ${goal} by a process of its own when the agent is killed`, async () => {
        if (isConfirmedBefore) await applyCapture(target, OTHER_PLAN);
        await killAgentBeforeConfirm(1);
        assert.equal(await landing(UID.one), "out-one");
        if (isConfirmedBefore) {
          await waitUntil(async () => (await landing(UID.one)) === "out-two", { what: "the reverter" });
          await waitUntil(async () => (await readCaptureStatus(target))?.isPending === false, { what: "the reverter's record" });
          assert.deepEqual((await readCaptureStatus(target))?.plan, OTHER_PLAN);
          await recoverCapture(target, { drainTimeoutMs: 0 });
          assert.deepEqual(await verifyCapture(target), []);
        } else {
          await waitUntil(async () => (await readCaptureStatus(target)) === undefined, { what: "the reverter" });
          assert.equal(await hostSnapshot(scenario.a), untouched);
        }
      });

      it(`goes back to ${goal} at once when the killed agent starts again`, async () => {
        if (isConfirmedBefore) await applyCapture(target, OTHER_PLAN);
        await killAgentBeforeConfirm(600_000);
        assert.equal((await readCaptureStatus(target))?.isPending, true);
        const record = await recoverCapture(target, { drainTimeoutMs: 0 });
        assert.deepEqual(record?.plan, isConfirmedBefore ? OTHER_PLAN : undefined);
        assert.equal(await landing(UID.one), isConfirmedBefore ? "out-two" : "b-app");
        const { stdout } = await scenario.a.run("pgrep", ["-f", "capture-reverter/revert.sh"]);
        assert.equal(stdout, "", "the countdown still runs");
      });
    }

    /** An agent that applies PLAN and is killed by SIGKILL while it waits for the confirmation. */
    async function killAgentBeforeConfirm(timeoutMs: number): Promise<void> {
      const { a } = scenario;
      const agent = spawn(process.execPath, [AGENT, JSON.stringify({ prefix: a.commandPrefix, backend, recordPath: target.recordPath, plan: PLAN, timeoutMs })], { stdio: ["ignore", "pipe", "inherit"] });
      const isGone = once(agent, "close");
      await once(agent.stdout, "data");
      agent.kill("SIGKILL");
      await isGone;
      assert.match(await readFile(target.recordPath, "utf8"), /"isPending": true/);
    }
  });
}
