import { CodedError } from "../../base/coded-error.ts";
import { contentHash } from "../../base/content-hash.ts";
import type { CommandRunner } from "./command-runner.ts";
import type { IptablesRuleset } from "./iptables-ruleset.ts";
import { readIptables } from "./iptables-tables.ts";
import { isOwnChain } from "./render-iptables.ts";
import { CAPTURE_TABLE, GUARD_TABLE } from "./render-nft.ts";
import type { IpFamily } from "./rule.ts";

export type Backend = "nft" | "iptables";

/** nft where it works, else iptables. */
export async function detectBackend(runner: CommandRunner): Promise<Backend> {
  const nft = await runner.run("nft", ["list", "tables"]);
  if (nft.code === 0) return "nft";
  const iptables = await runner.run("iptables-save", []);
  if (iptables.code === 0) return "iptables";
  throw new CodedError("MESH_CAPTURE_NO_BACKEND", "neither nft nor iptables works on this host", {
    facts: { nft: nft.stderr.trim(), iptables: iptables.stderr.trim() },
    hint: "install nftables (or iptables), and give the agent CAP_NET_ADMIN",
  });
}

/** What apply has to know about a host before it changes anything. */
export interface HostFacts {
  /** The loopback device has IPv6, so that routes and addresses can be put there. */
  readonly hasIpv6: boolean;
  /** The iptables rules of each usable family; empty with nft. */
  readonly iptables: ReadonlyMap<IpFamily, IptablesRuleset>;
}

export async function readHostFacts(runner: CommandRunner, backend: Backend): Promise<HostFacts> {
  const disabled = await runner.run("cat", ["/proc/sys/net/ipv6/conf/lo/disable_ipv6"]);
  const hasIpv6 = disabled.code === 0 && disabled.stdout.trim() === "0";
  const iptables = new Map<IpFamily, IptablesRuleset>();
  if (backend === "iptables") {
    iptables.set(4, await readIptables(runner, 4));
    // Disabled on the loopback device, it may be in use on another.
    const mayUseIpv6 = hasIpv6 || (disabled.code === 0 && (await runner.run("ip6tables-save", [])).code === 0);
    if (mayUseIpv6) iptables.set(6, await readIptables(runner, 6));
  }
  return { hasIpv6, iptables };
}

/** True where the host has a route for the range, whosever it is. */
export async function hasRoute(runner: CommandRunner, cidr: string): Promise<boolean> {
  const [address = ""] = cidr.split("/");
  const { code } = await runner.run("ip", [familyFlag(cidr), "route", "get", address]);
  return code === 0;
}

export async function hasLoopbackAddress(runner: CommandRunner, address: string): Promise<boolean> {
  const { code, stdout } = await runner.run("ip", [familyFlag(address), "-o", "address", "show", "dev", "lo", "to", address]);
  return code === 0 && stdout.trim() !== "";
}

export function familyFlag(address: string): "-4" | "-6" {
  return address.includes(":") ? "-6" : "-4";
}

/** A hash of our rules as the kernel has them now: it changes when somebody removes or edits one. */
export async function fingerprintRules(runner: CommandRunner, backend: Backend): Promise<string> {
  if (backend === "nft") {
    const tables = await Promise.all([CAPTURE_TABLE, GUARD_TABLE].map((table) => runner.run("nft", ["-s", "list", "table", "inet", table])));
    return contentHash(tables.map(({ code, stdout }) => (code === 0 ? stdout : "")).join("\n"));
  }
  const { iptables } = await readHostFacts(runner, backend);
  return contentHash(JSON.stringify([...iptables].map(([family, ruleset]) => [family, ownLines(ruleset)])));
}

function ownLines(ruleset: IptablesRuleset): string[] {
  return Object.entries(ruleset.tables).flatMap(([table, { chains }]) =>
    Object.entries(chains).flatMap(([chain, rules]) =>
      rules.filter((rule) => isOwnChain(chain) || isOwnChain(rule.replace("-j ", ""))).map((rule) => `${table} ${chain} ${rule}`),
    ),
  );
}

/** How many connections end at one of these ports of this host now. */
export async function countConnections(runner: CommandRunner, ports: readonly number[]): Promise<number> {
  const wanted = new Set(ports);
  const tables = await Promise.all(["/proc/net/tcp", "/proc/net/tcp6"].map((path) => runner.run("cat", [path])));
  return tables
    .flatMap(({ stdout }) => stdout.split("\n").slice(1))
    .map((line) => line.trim().split(/\s+/))
    .filter(([, local = "", , state]) => state === ESTABLISHED && wanted.has(Number.parseInt(local.split(":")[1] ?? "", 16))).length;
}

/** TCP_ESTABLISHED in /proc/net/tcp, include/net/tcp_states.h. */
const ESTABLISHED = "01";
