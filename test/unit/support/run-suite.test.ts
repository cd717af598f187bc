import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "mocha";
import { judgeProcess, runSuite } from "../../support/run-suite.ts";
import type { Suite } from "../../suites.ts";

const suite: Suite = { name: "sample", testTimeoutMs: 5_000, isPrivate: false, reporter: "dot" };

describe("run-suite", () => {
  it("takes the word of a process that ended as it says", () => {
    const report = { passed: 2, failed: 1, skipped: 3, failures: ["a test: why"] };
    assert.deepEqual(judgeProcess({ code: 1, signal: null }, JSON.stringify(report)), report);
  });

  it("adds a failure for a process that said nothing, was killed, or ended badly after all tests passed", () => {
    const reported = JSON.stringify({ passed: 2, failed: 0, skipped: 0, failures: [] });
    assert.deepEqual(judgeProcess({ code: 0, signal: null }, ""), { passed: 0, failed: 1, skipped: 0, failures: ["its process ended badly (exit code 0)"] });
    assert.deepEqual(judgeProcess({ code: null, signal: "SIGKILL" }, reported), { passed: 2, failed: 1, skipped: 0, failures: ["its process ended badly (SIGKILL)"] });
    assert.deepEqual(judgeProcess({ code: 1, signal: null }, reported), { passed: 2, failed: 1, skipped: 0, failures: ["its process ended badly (exit code 1)"] });
  });

  it("counts real tests, names what failed, and sees a file that cannot be loaded", async () => {
    const folder = mkdtempSync(join(tmpdir(), "ironmesh-run-suite-"));
    try {
      const good = join(folder, "good.test.mjs");
      writeFileSync(good, 'describe("a", () => { it("passes", () => {}); it("fails", () => { throw new Error("meant to\\nfail"); }); it("waits to be written"); });');
      assert.deepEqual(await runSuite(suite, [good], { isSilent: true }), { passed: 1, failed: 1, skipped: 1, failures: ["a fails: meant to"] });
      assert.deepEqual(await runSuite(suite, [good], { isSilent: true, grep: "passes" }), { passed: 1, failed: 0, skipped: 0, failures: [] });
      const broken = join(folder, "broken.test.mjs");
      writeFileSync(broken, 'throw new Error("meant to fail");');
      assert.deepEqual(await runSuite(suite, [good, broken], { isSilent: true }), { passed: 0, failed: 1, skipped: 0, failures: ["its process ended badly (exit code 1)"] });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
