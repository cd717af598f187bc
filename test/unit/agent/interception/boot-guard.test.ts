import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { keepBootGuard } from "../../../../agent/interception/boot-guard.ts";
import { soundPlan, SPEC } from "../../../support/capture-scenario.ts";

describe("the boot guard", () => {
  const folder = mkdtempSync(join(tmpdir(), "boot-guard-"));
  const path = join(folder, "boot-guard.nft");
  const target = { backend: "nft", recordPath: join(folder, "capture.json") } as const;
  const workload = { workload: "unit", match: { cgroups: ["system.slice/unit.service"] }, outboundPort: 15_149 };
  const plan = soundPlan({ ...SPEC, outbound: [...SPEC.outbound, workload] });
  after(() => rmSync(folder, { recursive: true }));

  it("closes what only the proxy may reach, and needs no process to exist", async () => {
    await keepBootGuard(target, plan);
    const rules = readFileSync(path, "utf8");
    assert.match(rules, /only through the proxy/);
    assert.doesNotMatch(rules, /redirect|cgroup/);
  });

  it("goes with the rules, and with the backend", async () => {
    await keepBootGuard(target, undefined);
    assert.ok(!existsSync(path));
    await keepBootGuard(target, plan);
    await keepBootGuard({ ...target, backend: "iptables" }, plan);
    assert.ok(!existsSync(path));
  });
});
