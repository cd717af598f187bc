/**
 * node suite-process.ts TIMEOUT_MS REPORTER GREP FILE…: runs test files under
 * mocha and writes a SuiteReport as JSON to descriptor 3. The report, not the exit
 * code, tells the caller how it went; without one the process has crashed.
 */
import { writeSync } from "node:fs";
import Mocha from "mocha";
import type { SuiteReport } from "./run-suite.ts";

const REPORT_DESCRIPTOR = 3;
const OPEN_HANDLES_GRACE_MS = 10_000;

const [timeoutMs, reporter, grep, ...files] = process.argv.slice(2);
const mocha = new Mocha({
  timeout: Number(timeoutMs),
  reporter: reporter ?? "spec",
  forbidOnly: true,
  ...(grep === undefined || grep === "" ? {} : { grep }),
});
for (const file of files) mocha.addFile(file);
await mocha.loadFilesAsync();

// mocha hands on what nobody caught, and without a listener it would be lost: thrown, it fails the test.
process.on("unhandledRejection", (reason) => {
  throw reason;
});

const failures: string[] = [];
const runner = mocha.run((failed) => {
  const { passes = 0, pending = 0 } = runner.stats ?? {};
  report({ passed: passes, failed, skipped: pending, failures });
  process.exitCode = failed === 0 ? 0 : 1;
  failOnOpenHandles();
});
runner.on("fail", (test, error: unknown) => {
  const [reason = ""] = (error instanceof Error ? error.message : String(error)).split("\n");
  failures.push(`${test.fullTitle()}: ${reason}`);
});

function report(ended: SuiteReport): void {
  writeSync(REPORT_DESCRIPTOR, `${JSON.stringify(ended)}\n`);
}

/** What a test leaves open has no owner: that is a failure, not something to wait for. */
function failOnOpenHandles(): void {
  setTimeout(() => {
    console.error(`  still open ${OPEN_HANDLES_GRACE_MS} ms after the last test: ${process.getActiveResourcesInfo().join(", ")}`);
    process.exit(2);
  }, OPEN_HANDLES_GRACE_MS).unref();
}
