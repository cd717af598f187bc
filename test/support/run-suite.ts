import { spawn } from "node:child_process";
import type { ChildProcess, StdioOptions } from "node:child_process";
import { globSync } from "node:fs";
import { join } from "node:path";
import { type CommandEnd, runInPrivateNamespace } from "./private-namespace.ts";
import type { Suite } from "../suites.ts";

/** How many tests of a suite ended how. */
export interface SuiteCounts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/** How a suite ended. */
export interface SuiteReport extends SuiteCounts {
  /** What failed, a line each: the test's whole title, and the first line of why. */
  readonly failures: readonly string[];
}

export interface RunSuiteOptions {
  /** mocha's filter by title; all tests where it is absent or empty. */
  readonly grep?: string;
  /** Shows nothing of what the tests write. */
  readonly isSilent?: boolean;
}

const root = join(import.meta.dirname, "..", "..");

/** The suite's test files, sorted. */
export function suiteFiles(suite: Suite): readonly string[] {
  return globSync(`test/${suite.name}/**/*.test.ts`, { cwd: root }).sort().map((file) => join(root, file));
}

/**
 * Runs one suite in a process of its own and counts. A process that crashes, is
 * killed, or leaves something open adds one failure to what it counted.
 */
export async function runSuite(suite: Suite, files: readonly string[], options: RunSuiteOptions = {}): Promise<SuiteReport> {
  const { grep = "", isSilent = false } = options;
  const output = isSilent ? "ignore" : "inherit";
  const stdio: StdioOptions = ["ignore", output, output, "pipe"];
  const program = join(import.meta.dirname, "suite-process.ts");
  const args = [program, String(suite.testTimeoutMs), suite.reporter, grep, ...files];
  let reported = "";
  const listen = (child: ChildProcess): void => {
    child.stdio[3]?.on("data", (chunk: Buffer) => {
      reported += chunk.toString();
    });
  };
  const end = suite.isPrivate
    ? await runInPrivateNamespace(process.execPath, args, { cwd: root, stdio, onStart: listen })
    : await runPlainly(args, stdio, listen);
  return judgeProcess(end, reported);
}

/** What a process reported, with one failure more where it did not end as it says there. */
export function judgeProcess(end: CommandEnd, reported: string): SuiteReport {
  const report = readReport(reported);
  if (report !== undefined && (end.code === 0 || (end.code === 1 && report.failed > 0))) return report;
  const { passed, failed, skipped, failures } = report ?? { passed: 0, failed: 0, skipped: 0, failures: [] };
  const problem = `its process ended badly (${end.signal ?? `exit code ${end.code}`})`;
  return { passed, failed: failed + 1, skipped, failures: [...failures, problem] };
}

function readReport(reported: string): SuiteReport | undefined {
  // Our own process wrote it, in one line.
  return reported === "" ? undefined : (JSON.parse(reported) as SuiteReport);
}

function runPlainly(args: readonly string[], stdio: StdioOptions, onStart: (child: ChildProcess) => void): Promise<CommandEnd> {
  const child = spawn(process.execPath, args, { cwd: root, stdio });
  onStart(child);
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => resolve({ code, signal }));
  });
}
