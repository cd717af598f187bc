import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
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

const root = join(import.meta.dirname, "..", "..");
const OUTPUT_DESCRIPTORS = ["ignore", "inherit", "inherit", "pipe"] as const;

/** The suite's test files, sorted. */
export function suiteFiles(suite: Suite): readonly string[] {
  return globSync(`test/${suite.name}/**/*.test.ts`, { cwd: root }).sort().map((file) => join(root, file));
}

/**
 * Runs one suite in a process of its own and counts. A process that crashes, is
 * killed, or leaves something open adds one failure to what it counted.
 *
 * @param grep mocha's filter by title; empty for all
 */
export async function runSuite(suite: Suite, files: readonly string[], grep: string): Promise<SuiteCounts> {
  const program = join(import.meta.dirname, "suite-process.ts");
  const args = [program, String(suite.testTimeoutMs), suite.reporter, grep, ...files];
  let reported = "";
  const listen = (child: ChildProcess): void => {
    child.stdio[3]?.on("data", (chunk: Buffer) => {
      reported += chunk.toString();
    });
  };
  const end = suite.isPrivate
    ? await runInPrivateNamespace(process.execPath, args, { cwd: root, stdio: [...OUTPUT_DESCRIPTORS], onStart: listen })
    : await runPlainly(args, listen);
  return judge(suite, end, reported);
}

/** Counts from what the process reported and how it ended. */
export function judge(suite: Pick<Suite, "name">, end: CommandEnd, reported: string): SuiteCounts {
  const counts = readCounts(reported);
  if (counts !== undefined && (end.code === 0 || (end.code === 1 && counts.failed > 0))) return counts;
  console.error(`  ${suite.name}: its process ended badly (${end.signal ?? `exit code ${end.code}`})`);
  const { passed, failed, skipped } = counts ?? { passed: 0, failed: 0, skipped: 0 };
  return { passed, failed: failed + 1, skipped };
}

function readCounts(reported: string): SuiteCounts | undefined {
  // Our own process wrote it, in one line.
  return reported === "" ? undefined : (JSON.parse(reported) as SuiteCounts);
}

function runPlainly(args: readonly string[], onStart: (child: ChildProcess) => void): Promise<CommandEnd> {
  const child = spawn(process.execPath, args, { cwd: root, stdio: [...OUTPUT_DESCRIPTORS] });
  onStart(child);
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => resolve({ code, signal }));
  });
}
