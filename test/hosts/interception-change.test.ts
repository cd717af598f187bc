import assert from "node:assert/strict";
import { access } from "node:fs/promises";
import { applyCapture, readCaptureStatus, revertCapture, verifyCapture } from "../../agent/interception/apply.ts";
import type { CaptureTarget } from "../../agent/interception/apply.ts";
import { CAPTURE_VARIANTS, PORT, soundPlan, SPEC, startCaptureScenario, UID } from "../support/capture-scenario.ts";
import type { CaptureScenario } from "../support/capture-scenario.ts";
import { networkState } from "../support/network-state.ts";
import { waitUntil } from "../support/wait-until.ts";

const AT_ONCE = { guard: "remove", drainTimeoutMs: 0 } as const;
const PLAN = soundPlan(SPEC);
/** As PLAN, with the second workload's listener for both: a connection shows which of the two plans holds. */
const OTHER_PLAN = soundPlan({ ...SPEC, outbound: [{ workload: "both", match: { uids: [UID.one, UID.two] }, outboundPort: PORT.outTwo }] });

const REDIRECTED = ["-p", "tcp", "--dport", "4321", "-j", "REDIRECT", "--to-ports", "4322"] as const;

for (const variant of CAPTURE_VARIANTS) {
  describe(`changing interception with ${variant}`, function () {
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

    /** Somebody else's iptables: the variant that is tested, or the distribution's beside nft. */
    const iptables = async (command: "iptables" | "ip6tables", ...args: readonly string[]): Promise<void> => {
      const { code, stderr } = await scenario.a.run("env", [...scenario.commandPrefix, command, ...args]);
      assert.equal(code, 0, stderr);
    };
    /** Empties a table, and takes it away where that can be. */
    const forgetOthers = async (command: "iptables" | "ip6tables", table: string): Promise<void> => {
      const chains = table === "filter" ? ":FORWARD ACCEPT [0:0]\n" : "";
      const restore = [...scenario.commandPrefix, `${command}-restore`];
      await scenario.a.run("env", restore, { input: `*${table}\n${chains}COMMIT\n` });
      await scenario.a.run("env", restore, { input: `*${table}\nCOMMIT\n` });
    };
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
      assert.equal(await networkState(a), untouched);
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

    it("gives the same rules to the byte, the twentieth time as the first", async () => {
      await applyCapture(target, PLAN);
      const first = await networkState(scenario.a);
      for (let round = 0; round < 20; round += 1) await applyCapture(target, PLAN);
      assert.equal(await networkState(scenario.a), first);
    });

    it("leaves the rules, tables and chains of others as they were, and takes away those that it caused", async () => {
      const { a, b } = scenario;
      await a.run("nft", ["-f", "-"], { input: "table inet firewall { chain input { type filter hook input priority 0; tcp dport 12345 drop; }\n}\n" });
      await iptables("iptables", "-t", "nat", "-A", "OUTPUT", ...REDIRECTED);
      // Tables of which we cause a chain, one with a policy, one with a chain that nobody uses.
      await iptables("iptables", "-P", "FORWARD", "DROP");
      await iptables("ip6tables", "-N", "SOMEBODYS");
      await iptables("ip6tables", "-A", "OUTPUT", "-j", "SOMEBODYS");
      await iptables("ip6tables", "-D", "OUTPUT", "-j", "SOMEBODYS");
      const withOthers = await networkState(a);
      await applyCapture(target, soundPlan({ ...SPEC, dns: { port: PORT.dns, capture: true } }));
      assert.equal(await scenario.land(a, { uid: UID.one, host: b.addresses.v6, port: 53, isDatagram: true }), "resolver");
      await iptables("ip6tables", "-t", "nat", "-A", "OUTPUT", ...REDIRECTED);
      await revertCapture(target, AT_ONCE);
      assert.match(await networkState(a), /# ip6tables-(legacy-)?save[^#]*--dport 4321 -j REDIRECT/, "a rule that came later");
      await forgetOthers("ip6tables", "nat");
      assert.equal(await networkState(a), withOthers);
      await forgetOthers("iptables", "nat");
      await forgetOthers("iptables", "filter");
      await forgetOthers("ip6tables", "filter");
      await a.run("nft", ["delete", "table", "inet", "firewall"]);
    });

    it("comes before others that rewrite destinations, as Docker and kube-proxy do", async () => {
      const { b } = scenario;
      await iptables("iptables", "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "-d", b.addresses.v4, "--dport", `${PORT.plain}`, "-j", "REDIRECT", "--to-ports", `${PORT.plain}`);
      assert.equal(await landing(UID.one), "a-other");
      await applyCapture(target, PLAN);
      assert.equal(await landing(UID.one), "out-one");
      assert.equal(await landing(UID.stranger), "a-other");
      await revertCapture(target, AT_ONCE);
      await forgetOthers("iptables", "nat");
    });

    it("sees that somebody took the rules, a route or the address away, and mends it", async () => {
      const { a } = scenario;
      await applyCapture(target, PLAN);
      assert.deepEqual(await verifyCapture(target), []);
      await a.run("nft", ["flush", "ruleset"]);
      for (const command of ["iptables", "ip6tables"] as const) {
        for (const table of ["filter", "nat"]) await forgetOthers(command, table);
      }
      await a.run("ip", ["route", "flush", "table", "local", "proto", "119"]);
      await a.run("ip", ["-6", "address", "del", "::6/128", "dev", "lo"]);
      assert.deepEqual((await verifyCapture(target)).map((drift) => drift.kind), ["rules", "route", "address"]);
      await applyCapture(target, PLAN);
      assert.deepEqual(await verifyCapture(target), []);
      assert.equal(await landing(UID.one), "out-one");
    });
  });
}
