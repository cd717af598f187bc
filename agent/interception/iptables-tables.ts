import { CodedError } from "../../base/coded-error.ts";
import type { CommandRunner } from "./command-runner.ts";
import { parseIptablesSave } from "./iptables-ruleset.ts";
import type { IptablesRuleset } from "./iptables-ruleset.ts";
import type { IpFamily } from "./rule.ts";

export type IptablesCommand = "iptables" | "ip6tables";

export function iptablesCommand(family: IpFamily): IptablesCommand {
  return family === 4 ? "iptables" : "ip6tables";
}

/** Built-in chains that iptables creates, with their tables, when our jumps are placed. */
export const CAUSED_CHAINS = [
  ["filter", ["INPUT", "OUTPUT"]],
  ["raw", ["OUTPUT"]],
  ["nat", ["PREROUTING", "OUTPUT"]],
] as const;

/** No chain has so many rules: asking for its removal changes nothing, and tells whether there is a chain. */
const NO_RULE = "2147483647";

/** The rules of one family. */
export async function readIptables(runner: CommandRunner, family: IpFamily): Promise<IptablesRuleset> {
  const command = `${iptablesCommand(family)}-save`;
  const { code, stdout, stderr } = await runner.run(command, []);
  if (code !== 0) throw new CodedError("MESH_CAPTURE_COMMAND_FAILED", `${command} failed: ${stderr.trim()}`, { facts: { command, code } });
  return parseIptablesSave(stdout);
}

/**
 * Of the tables and built-in chains that we may cause, those that exist or can
 * never be removed again, as `iptables nat` and `iptables nat OUTPUT`. With
 * iptables-legacy that is all of them: the kernel keeps a table from its first
 * use on.
 */
export async function listXtables(runner: CommandRunner, rulesets: ReadonlyMap<IpFamily, IptablesRuleset>): Promise<string[]> {
  const isLegacy = !(await runner.run("iptables", ["--version"])).stdout.includes("nf_tables");
  const names: string[] = [];
  for (const [family, { tables }] of rulesets) {
    const command = iptablesCommand(family);
    for (const [table, chains] of CAUSED_CHAINS) {
      if (!isLegacy && tables[table] === undefined) continue;
      names.push(`${command} ${table}`);
      for (const chain of chains) {
        if (isLegacy || (await hasChain(runner, command, table, chain))) names.push(`${command} ${table} ${chain}`);
      }
    }
  }
  return names;
}

/** iptables-save shows every built-in chain of a table, whether the kernel has it or not. */
async function hasChain(runner: CommandRunner, command: IptablesCommand, table: string, chain: string): Promise<boolean> {
  const { stderr } = await runner.run(command, ["-w", "5", "-t", table, "-D", chain, NO_RULE]);
  return !stderr.includes("No chain");
}
