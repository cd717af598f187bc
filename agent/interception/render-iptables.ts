import { countJumps, parseIptablesSave } from "./iptables-ruleset.ts";
import type { IptablesRuleset } from "./iptables-ruleset.ts";
import type { CapturePlan } from "./plan.ts";
import type { CaptureExtent } from "./capture-extent.ts";
import { DRAIN_RULE } from "./rule.ts";
import type { ChainName, IpFamily, Rule, RuleMatch, RuleVerdict } from "./rule.ts";

/** Where each of our chains hangs: a built-in chain jumps to it first, or another chain of ours does. */
const CHAINS = [
  { name: "guard_input", chain: "IRONMESH_GUARD_INPUT", table: "filter", hook: "INPUT" },
  { name: "guard_output", chain: "IRONMESH_GUARD_OUTPUT", table: "filter", hook: "OUTPUT" },
  { name: "vip_guard", chain: "IRONMESH_VIP_GUARD", table: "filter", hook: "OUTPUT" },
  { name: "dns_zone", chain: "IRONMESH_DNS_ZONE", table: "raw", hook: "OUTPUT" },
  { name: "outbound", chain: "IRONMESH_OUTBOUND", table: "nat", hook: undefined },
  { name: "prerouting", chain: "IRONMESH_PREROUTING", table: "nat", hook: "PREROUTING" },
  { name: "output", chain: "IRONMESH_OUTPUT", table: "nat", hook: "OUTPUT" },
] as const satisfies readonly { name: ChainName; chain: string; table: IptablesTableName; hook: string | undefined }[];

/** The order of the restore: what closes is loaded before what redirects. */
export const IPTABLES_TABLES = ["filter", "raw", "nat"] as const;
export type IptablesTableName = (typeof IPTABLES_TABLES)[number];

/** xt_multiport takes no more. */
const MAX_PORTS_PER_RULE = 15;

/**
 * The input of `iptables-restore --noflush` (or ip6tables-restore). Each table
 * is one transaction that removes our jumps, empties our chains, fills them
 * and puts the jumps first again; done in separate calls, connections opened
 * in between would bypass the mesh or fail.
 *
 * @param present what the host has now: our jumps and chains are taken out by
 *   what is there, so that a second apply never doubles them
 */
export function renderIptables(
  plan: CapturePlan,
  family: IpFamily,
  present: IptablesRuleset,
  options: CaptureExtent,
  tables: readonly IptablesTableName[] = IPTABLES_TABLES,
): string {
  return tables.map((table) => {
    const lines = tableLines(plan, family, table, present, options);
    return lines.length === 0 ? "" : [`*${table}`, ...lines, "COMMIT", ""].join("\n");
  }).join("");
}

/** What of a ruleset is ours once a plan is in force, for whoever must undo it without looking. */
export function expectedIptables(wanted: CaptureExtent & { readonly plan: CapturePlan }, family: IpFamily): IptablesRuleset {
  const restored = renderIptables(wanted.plan, family, { tables: {} }, wanted);
  return parseIptablesSave(restored.replaceAll(/^-I (\S+) 1 /gm, "-A $1 "));
}

/** True for a chain of ours. */
export function isOwnChain(chain: string): boolean {
  return chain.startsWith("IRONMESH_");
}

function tableLines(plan: CapturePlan, family: IpFamily, table: IptablesTableName, present: IptablesRuleset, options: CaptureExtent): string[] {
  const existing = present.tables[table];
  const chains = CHAINS.filter((chain) => chain.table === table).map((chain) => ({
    ...chain,
    lines: chainRules(plan, chain.name, options).flatMap((rule) => ruleLines(rule, family)),
    isPresent: existing?.chains[chain.chain] !== undefined,
    jumps: chain.hook === undefined ? 0 : countJumps(existing, chain.hook, chain.chain),
  }));
  const wanted = chains.filter((chain) => chain.lines.length > 0);
  const obsolete = chains.filter((chain) => chain.lines.length === 0 && chain.isPresent);
  return [
    // Declares a new chain, empties an old one.
    ...[...wanted, ...obsolete].map((chain) => `:${chain.chain} - [0:0]`),
    ...chains.flatMap((chain) => Array.from({ length: chain.jumps }, () => `-D ${chain.hook} -j ${chain.chain}`)),
    ...obsolete.map((chain) => `-X ${chain.chain}`),
    ...wanted.flatMap((chain) => chain.lines.map((line) => `-A ${chain.chain} ${line}`)),
    ...wanted.flatMap((chain) => (chain.hook === undefined ? [] : [`-I ${chain.hook} 1 -j ${chain.chain}`])),
  ];
}

function chainRules(plan: CapturePlan, name: ChainName, options: CaptureExtent): readonly Rule[] {
  if (name === "guard_input" || name === "guard_output") return options.guard === "active" ? plan.guard[name] : [];
  if (options.capture === "active") return plan.capture[name];
  // The only user of connection tracking that is left: without one, captured connections are reset.
  if (options.capture === "drained" && name === "output") return [DRAIN_RULE];
  return [];
}

/** One rule of the plan as the lines that it takes here: iptables has no sets of users or addresses. */
function ruleLines({ comment, match, verdict }: Rule, family: IpFamily): string[] {
  if (match.family !== undefined && match.family !== family) return [];
  const portGroups = match.destinationPorts === undefined ? [undefined] : chunks(match.destinationPorts, MAX_PORTS_PER_RULE);
  const lines: string[] = [];
  for (const source of match.sources ?? [undefined]) {
    for (const destination of match.destinations ?? [undefined]) {
      for (const ports of portGroups) {
        for (const uid of match.uids ?? [undefined]) {
          const matched = matchTexts(match, { source, destination, ports, uid });
          lines.push([...matched, `-m comment --comment ${quote(comment)}`, verdictText(verdict)].join(" "));
        }
      }
    }
  }
  return lines;
}

interface SingleValues {
  readonly source: string | undefined;
  readonly destination: string | undefined;
  readonly ports: readonly number[] | undefined;
  readonly uid: number | undefined;
}

function matchTexts(match: RuleMatch, { source, destination, ports, uid }: SingleValues): string[] {
  const texts: string[] = [];
  if (match.isFromLoopback) texts.push("-i lo");
  if (source !== undefined) texts.push(`-s ${source}`);
  if (destination !== undefined) texts.push(`-d ${destination}`);
  if (match.protocol === "udp") texts.push("-p udp");
  if (match.protocol === "tcp-syn") texts.push("-p tcp --syn");
  if (ports !== undefined) texts.push(ports.length === 1 ? `--dport ${ports[0]}` : `-m multiport --dports ${ports.join(",")}`);
  if (match.isToLocal) texts.push("-m addrtype --dst-type LOCAL");
  if (uid !== undefined) texts.push(`-m owner --uid-owner ${uid}`);
  if (match.cgroup !== undefined) texts.push(`-m cgroup --path ${quote(match.cgroup)}`);
  if (match.isRedirected) texts.push("-m conntrack --ctstate DNAT");
  if (match.isEstablished) texts.push("-m conntrack --ctstate ESTABLISHED");
  return texts;
}

function verdictText(verdict: RuleVerdict): string {
  switch (verdict.kind) {
    case "return":
      return "-j RETURN";
    case "jump":
      return `-j ${CHAINS.find((chain) => chain.name === verdict.chain)?.chain}`;
    case "redirect":
      return `-j REDIRECT --to-ports ${verdict.port}`;
    case "zone":
      return `-j CT --zone-orig ${verdict.zone}`;
    default:
      verdict satisfies { readonly kind: "reject" };
      return "-j REJECT --reject-with tcp-reset";
  }
}

function quote(text: string): string {
  return `"${text.replaceAll("\\", "\\\\")}"`;
}

function chunks<T>(values: readonly T[], size: number): (readonly T[])[] {
  return Array.from({ length: Math.ceil(values.length / size) }, (_, index) => values.slice(index * size, (index + 1) * size));
}
