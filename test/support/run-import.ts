import assert from "node:assert/strict";
import { silentLogger } from "../../base/logger.ts";
import { buildProgram } from "../../cli/program.ts";

/** What `ironmesh import consul` prints; it must succeed. */
export async function runImport(...args: readonly string[]): Promise<string> {
  const printed: string[] = [];
  const program = buildProgram({
    api: () => assert.fail("no control plane is needed"),
    print: (text) => void printed.push(text),
    complain: () => {},
    readInput: async () => "",
    setExitCode: (code) => assert.fail(`exit code ${code}`),
    logger: () => silentLogger,
  });
  await program.parseAsync(["import", "consul", ...args], { from: "user" });
  return printed.join("\n");
}
