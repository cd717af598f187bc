import type { CaptureExtent } from "./capture-extent.ts";
import type { CapturePlan } from "./plan.ts";
import { DRAIN_RULE } from "./rule.ts";
import type { ChainName, Rule, RuleMatch, RuleVerdict } from "./rule.ts";

export const CAPTURE_TABLE = "ironmesh";
export const GUARD_TABLE = "ironmesh_guard";

/**
 * The input of one `nft -f`, which the kernel takes as one transaction: each
 * table is created (so that the deletion cannot fail), deleted, and created
 * with its new content. No moment lies between the old rules and the new.
 *
 * Redirection hooks in at -105, before the destination rewriting of kube-proxy
 * and Docker at -100: the proxy sees the address that was dialed, and what it
 * opens itself is rewritten by them afterwards. Later than -100 they would
 * take traffic past us silently.
 */
export function renderNft(plan: CapturePlan, options: CaptureExtent): string {
  const capture = options.capture === "absent" ? [] : captureChains(plan, options.capture);
  const guard = options.guard === "absent" ? [] : guardChains(plan);
  return [...tableLines(CAPTURE_TABLE, capture), ...tableLines(GUARD_TABLE, guard), ""].join("\n");
}

function tableLines(name: string, chains: readonly string[]): string[] {
  const replaced = [`table inet ${name}`, `delete table inet ${name}`];
  return chains.length === 0 ? replaced : [...replaced, `table inet ${name} {`, ...chains, "}"];
}

function captureChains(plan: CapturePlan, mode: "active" | "drained"): string[] {
  const { dns_zone, prerouting, output, outbound, vip_guard } = plan.capture;
  if (mode === "drained") return drainChains();
  if (prerouting.length + output.length === 0) return [];
  return [
    // A chain is declared before the one that jumps to it.
    ...chainLines("outbound", undefined, outbound),
    ...chainLines("dns_zone", "type filter hook output priority raw", dns_zone),
    ...chainLines("prerouting", "type nat hook prerouting priority -105", prerouting),
    ...chainLines("output", "type nat hook output priority -105", output),
    ...chainLines("vip_guard", "type filter hook output priority filter", vip_guard),
  ];
}

/**
 * Address rewriting stops for established connections, which resets them, when
 * the last chain of type nat or the last user of connection tracking goes. So
 * both stay here, and capture nothing.
 */
function drainChains(): string[] {
  return (["prerouting", "output"] as const).flatMap((hook) => chainLines(hook, `type nat hook ${hook} priority -105`, [DRAIN_RULE]));
}

function guardChains(plan: CapturePlan): string[] {
  return [
    ...chainLines("guard_input", "type filter hook input priority filter", plan.guard.guard_input),
    ...chainLines("guard_output", "type filter hook output priority filter", plan.guard.guard_output),
  ];
}

function chainLines(name: ChainName, hook: string | undefined, rules: readonly Rule[]): string[] {
  if (rules.length === 0) return [];
  return [`\tchain ${name} {`, ...(hook === undefined ? [] : [`\t\t${hook}; policy accept;`]), ...rules.map((rule) => `\t\t${ruleText(rule)}`), "\t}"];
}

function ruleText({ comment, match, verdict }: Rule): string {
  return [...matchTexts(match), verdictText(verdict), `comment "${comment}"`].join(" ");
}

function matchTexts(match: RuleMatch): string[] {
  const address = match.family === 6 ? "ip6" : "ip";
  const transport = match.protocol === "udp" ? "udp" : "tcp";
  const texts: string[] = [];
  if (match.isFromLoopback) texts.push("iif lo");
  if (match.protocol === "tcp-syn") texts.push("tcp flags & (fin | syn | rst | ack) == syn");
  if (match.sources) texts.push(`${address} saddr ${setText(match.sources)}`);
  if (match.destinations) texts.push(`${address} daddr ${setText(match.destinations)}`);
  if (match.destinationPorts) texts.push(`${transport} dport ${setText(match.destinationPorts)}`);
  if (match.isToLocal) texts.push("fib daddr type local");
  if (match.uids) texts.push(`meta skuid ${setText(match.uids)}`);
  if (match.cgroup !== undefined) texts.push(`socket cgroupv2 level ${match.cgroup.split("/").length} "${match.cgroup}"`);
  if (match.isRedirected) texts.push("ct status dnat");
  if (match.isEstablished) texts.push("ct state established");
  return texts;
}

function setText(values: readonly (string | number)[]): string {
  return values.length === 1 ? String(values[0]) : `{ ${values.join(", ")} }`;
}

function verdictText(verdict: RuleVerdict): string {
  switch (verdict.kind) {
    case "return":
      return "return";
    case "jump":
      return `jump ${verdict.chain}`;
    case "redirect":
      return `redirect to :${verdict.port}`;
    case "zone":
      return `ct original zone set ${verdict.zone}`;
    default:
      verdict satisfies { readonly kind: "reject" };
      return "reject with tcp reset";
  }
}
