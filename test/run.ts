/**
 * npm test [-- SUITE… --grep TEXT]: runs the suites in order and closes with a
 * line for each test that failed, and one line, `N passed, N failed`. The exit code is 0 only when tests ran and none failed.
 */
import { tmpdir } from "node:os";
import { parseArgs } from "node:util";
import { endWithParent } from "./support/private-namespace.ts";
import { runSuite, suiteFiles, type SuiteCounts, type SuiteReport } from "./support/run-suite.ts";
import { SUITES, type Suite } from "./suites.ts";

interface Wanted {
  readonly suites: readonly Suite[];
  readonly grep: string;
}

function parseCommandLine(args: string[]): Wanted {
  const { values, positionals } = parseArgs({ args, allowPositionals: true, options: { grep: { type: "string", short: "g" } } });
  const unknown = positionals.filter((name) => !SUITES.some((suite) => suite.name === name));
  if (unknown.length > 0) {
    throw new Error(`no such suite: ${unknown.join(", ")} (there are ${SUITES.map((suite) => suite.name).join(", ")})`);
  }
  const named = SUITES.filter((suite) => positionals.includes(suite.name));
  return { suites: named.length === 0 ? SUITES : named, grep: values.grep ?? "" };
}

function sum(all: readonly SuiteReport[]): SuiteReport {
  return all.reduce(
    (total, each) => ({
      passed: total.passed + each.passed,
      failed: total.failed + each.failed,
      skipped: total.skipped + each.skipped,
      failures: [...total.failures, ...each.failures],
    }),
    { passed: 0, failed: 0, skipped: 0, failures: [] },
  );
}

function closingLine({ passed, failed, skipped }: SuiteCounts): string {
  return `${passed} passed, ${failed} failed${skipped === 0 ? "" : `, ${skipped} skipped`}`;
}

/** A suite with files in which no test ran proves nothing: it fails, unless a filter left none. */
function withEmptinessJudged(report: SuiteReport, grep: string): SuiteReport {
  const ran = report.passed + report.failed + report.skipped;
  return ran > 0 || grep !== "" ? report : { ...report, failed: 1, failures: ["no test ran"] };
}

async function runAll({ suites, grep }: Wanted): Promise<SuiteReport> {
  const all: SuiteReport[] = [];
  for (const suite of suites) {
    const files = suiteFiles(suite);
    if (files.length === 0) {
      console.log(`\n── ${suite.name}: no tests yet`);
      continue;
    }
    console.log(`\n── ${suite.name} (${files.length} files)`);
    await suite.prepare?.();
    const startedAt = performance.now();
    const { failures, ...counts } = withEmptinessJudged(await runSuite(suite, files, { grep }), grep);
    console.log(`── ${suite.name}: ${closingLine(counts)} (${((performance.now() - startedAt) / 1000).toFixed(1)} s)`);
    all.push({ ...counts, failures: failures.map((failure) => `${suite.name}: ${failure}`) });
  }
  return sum(all);
}

/** Tests make sockets in temporary folders of theirs, and the path of a socket has at most 107 bytes. */
const LONGEST_TEMPORARY_FOLDER = 32;

endWithParent();
if (tmpdir().length > LONGEST_TEMPORARY_FOLDER) process.env["TMPDIR"] = "/tmp";
try {
  const total = await runAll(parseCommandLine(process.argv.slice(2)));
  if (total.passed + total.failed === 0) console.error("\nno test ran at all: that is a failure");
  console.log("");
  for (const failure of total.failures) console.log(`✘ ${failure}`);
  console.log(closingLine(total));
  process.exitCode = total.failed === 0 && total.passed > 0 ? 0 : 1;
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
