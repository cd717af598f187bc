import type { LabHost } from "./network-lab.ts";

const QUESTIONS: readonly (readonly [command: string, ...args: string[]])[] = [
  ["nft", "list", "ruleset"],
  ["iptables-save"],
  ["ip6tables-save"],
  ["iptables-legacy-save"],
  ["ip6tables-legacy-save"],
  ["ip", "-4", "rule", "show"],
  ["ip", "-6", "rule", "show"],
  ["ip", "-4", "route", "show", "table", "all"],
  ["ip", "-6", "route", "show", "table", "all"],
  ["ip", "-o", "address", "show"],
];

/** util-linux's nsenter, where the command does not exist. */
const NOT_FOUND = 127;

/**
 * Everything of a host's network that an agent may change, as its tools print
 * it, but for what changes by itself: dates and counters. Two hosts' or two
 * moments' states compare to the byte. A tool that the host lacks says nothing.
 */
export async function networkState(host: LabHost): Promise<string> {
  const answers: string[] = [];
  for (const [command, ...args] of QUESTIONS) {
    const { code, stdout, stderr } = await host.run(command, args);
    if (code !== 0 && code !== NOT_FOUND) throw new Error(`${command} ${args.join(" ")} failed: ${stderr.trim()}`);
    answers.push(`# ${command} ${args.join(" ")}\n${steady(stdout)}`);
  }
  return answers.join("");
}

/** Without the comments of iptables-save, which hold dates, and without what counts packets. */
function steady(text: string): string {
  return text
    .split("\n")
    .filter((line) => !line.startsWith("#"))
    .map((line) => line.replaceAll(/\[\d+:\d+\]/g, "[]").replaceAll(/packets \d+ bytes \d+/g, ""))
    .join("\n");
}
