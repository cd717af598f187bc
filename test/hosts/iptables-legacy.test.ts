import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { applyCapture, revertCapture } from "../../agent/interception/apply.ts";
import type { CaptureTarget } from "../../agent/interception/apply.ts";
import { createCommandRunner } from "../../agent/interception/command-runner.ts";
import { PORT, soundPlan, SPEC } from "../support/capture-scenario.ts";
import { createIptablesPath } from "../support/iptables-path.ts";
import { createLab } from "../support/network-lab.ts";
import type { NetworkLab } from "../support/network-lab.ts";
import { networkState } from "../support/network-state.ts";

/** The one thing that cannot be taken back, see docs/decisions/0003: the kernel keeps a table of iptables-legacy from its first use on. */
describe("a host where nobody used iptables-legacy before", () => {
  let lab: NetworkLab;
  let folder = "";

  before(async () => {
    lab = await createLab({ hosts: ["a", "b"] });
    folder = await mkdtemp(join(tmpdir(), "ironmesh-legacy-"));
  });
  after(async () => {
    await lab.close();
    await rm(folder, { recursive: true });
  });

  it("keeps the tables that its capture used, empty and letting everything pass, and nothing else", async function () {
    const { a, b } = lab.hosts;
    assert.ok(a && b);
    const path = await createIptablesPath(join(folder, "bin"), "legacy");
    // Asked elsewhere: the question itself would bring the table.
    if ((await createCommandRunner([...b.commandPrefix, "env", `PATH=${path}`]).run("iptables", ["-t", "nat", "-S"])).code !== 0) this.skip();
    const target: CaptureTarget = {
      runner: createCommandRunner([...a.commandPrefix, "env", `PATH=${path}`]),
      backend: "iptables",
      reverter: "process",
      recordPath: join(folder, "capture.json"),
    };
    const untouched = await networkState(a);
    const captureAndLeave = async (dns: boolean): Promise<string> => {
      await applyCapture(target, soundPlan({ ...SPEC, ...(dns ? { dns: { port: PORT.dns, capture: true } } : {}) }));
      assert.match(await networkState(a), /-A OUTPUT -j IRONMESH_OUTPUT/);
      await revertCapture(target, { guard: "remove", drainTimeoutMs: 0 });
      return networkState(a);
    };
    const empty = (table: string, chains: readonly string[]): string => [`*${table}`, ...chains.map((chain) => `:${chain} ACCEPT []`), "COMMIT", ""].join("\n");
    const NAT = empty("nat", ["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"]);
    const FILTER = empty("filter", ["INPUT", "FORWARD", "OUTPUT"]);
    const RAW = empty("raw", ["PREROUTING", "OUTPUT"]);
    const withTables = (...tables: readonly string[]): string => {
      const saved = tables.join("");
      return untouched.replace("# iptables-legacy-save \n", `$&${saved}`).replace("# ip6tables-legacy-save \n", `$&${saved}`);
    };
    const sorted = (state: string): string[] => state.split("\n").sort();
    assert.deepEqual(sorted(await captureAndLeave(false)), sorted(withTables(NAT, FILTER)), "no table that it had no use for");
    assert.deepEqual(sorted(await captureAndLeave(true)), sorted(withTables(NAT, FILTER, RAW)));
    assert.deepEqual(sorted(await captureAndLeave(true)), sorted(withTables(NAT, FILTER, RAW)), "and no more of them each time");
  });
});
