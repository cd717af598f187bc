import type { LabHost } from "../test/support/network-lab.ts";

const QUESTIONS: readonly (readonly [command: string, ...args: string[]])[] = [
  ["nft", "list", "ruleset"],
  ["ip", "-4", "rule", "show"],
  ["ip", "-6", "rule", "show"],
  ["ip", "-4", "route", "show", "table", "all"],
  ["ip", "-6", "route", "show", "table", "all"],
  ["ip", "-o", "address", "show"],
];

/** Everything of a host's network that an agent may change, as its tools print it. */
export async function networkState(host: LabHost): Promise<string> {
  const answers: string[] = [];
  for (const [command, ...args] of QUESTIONS) {
    const { code, stdout, stderr } = await host.run(command, args);
    if (code !== 0) throw new Error(`${command} ${args.join(" ")} failed: ${stderr.trim()}`);
    answers.push(`# ${command} ${args.join(" ")}\n${stdout}`);
  }
  return answers.join("");
}
