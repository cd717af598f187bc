/**
 * npm run check: everything that is fast, two at a time: types, lint, and the
 * suites that need neither root nor Envoy. The output of what failed comes last.
 */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { endWithParent } from "./support/private-namespace.ts";

interface Check {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
}

interface Outcome {
  readonly check: Check;
  readonly isGood: boolean;
  readonly seconds: number;
  readonly output: string;
}

const root = join(import.meta.dirname, "..");
const tools = join(root, "node_modules", ".bin");

const CHECKS: readonly Check[] = [
  { name: "types", command: join(tools, "tsc"), args: ["--noEmit"] },
  { name: "lint", command: join(tools, "oxlint"), args: ["--type-aware"] },
  { name: "architecture, unit, golden", command: process.execPath, args: [join(root, "test", "run.ts"), "architecture", "unit", "golden"] },
];

function run(check: Check): Promise<Outcome> {
  const startedAt = performance.now();
  return new Promise((resolve) => {
    let output = "";
    const finish = (isGood: boolean): void => {
      const outcome = { check, isGood, seconds: (performance.now() - startedAt) / 1000, output };
      console.log(`${isGood ? "✔" : "✘"} ${check.name} (${outcome.seconds.toFixed(1)} s)`);
      resolve(outcome);
    };
    const child = spawn(check.command, check.args, { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (chunk: Buffer) => {
        output += chunk.toString();
      });
    }
    child.once("error", (error) => {
      output += error.message;
      finish(false);
    });
    child.once("close", (code) => finish(code === 0));
  });
}

endWithParent();
const outcomes = await Promise.all(CHECKS.map(run));
for (const { check, output } of outcomes.filter((outcome) => !outcome.isGood)) {
  console.log(`\n── ${check.name}\n${output.trim()}`);
}
const tests = outcomes.at(-1)?.output.trim().split("\n").at(-1) ?? "";
console.log(`\n${tests}`);
process.exitCode = outcomes.every((outcome) => outcome.isGood) ? 0 : 1;
