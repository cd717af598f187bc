/**
 * node suite-process.ts TIMEOUT_MS REPORTER GREP FILE…: runs test files under
 * mocha and writes the counts as JSON to descriptor 3. The counts, not the exit
 * code, tell the caller how it went; without them the process has crashed.
 */
import { writeSync } from "node:fs";
import Mocha from "mocha";
import type { SuiteCounts } from "./run-suite.ts";

const COUNTS_DESCRIPTOR = 3;
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

const runner = mocha.run((failures) => {
  const { passes = 0, pending = 0 } = runner.stats ?? {};
  report({ passed: passes, failed: failures, skipped: pending });
  process.exitCode = failures === 0 ? 0 : 1;
  failOnOpenHandles();
});

function report(counts: SuiteCounts): void {
  writeSync(COUNTS_DESCRIPTOR, `${JSON.stringify(counts)}\n`);
}

/** What a test leaves open has no owner: that is a failure, not something to wait for. */
function failOnOpenHandles(): void {
  setTimeout(() => {
    console.error(`  still open ${OPEN_HANDLES_GRACE_MS} ms after the last test: ${process.getActiveResourcesInfo().join(", ")}`);
    process.exit(2);
  }, OPEN_HANDLES_GRACE_MS).unref();
}
