import { CodedError } from "../../base/coded-error.ts";
import { contentHash } from "../../base/content-hash.ts";
import type { CommandRunner } from "./command-runner.ts";
import { parseIptablesSave } from "./iptables-ruleset.ts";
import type { IptablesRuleset } from "./iptables-ruleset.ts";
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
  readonly hasIpv6: boolean;
  /** The iptables rules of each usable family; empty with nft. */
  readonly iptables: ReadonlyMap<IpFamily, IptablesRuleset>;
}

export async function readHostFacts(runner: CommandRunner, backend: Backend): Promise<HostFacts> {
  const disabled = await runner.run("cat", ["/proc/sys/net/ipv6/conf/lo/disable_ipv6"]);
  const hasIpv6 = disabled.code === 0 && disabled.stdout.trim() === "0";
  const families: readonly IpFamily[] = backend === "nft" ? [] : hasIpv6 ? [4, 6] : [4];
  const iptables = await Promise.all(families.map(async (family) => [family, await readIptables(runner, family)] as const));
  return { hasIpv6, iptables: new Map(iptables) };
}

async function readIptables(runner: CommandRunner, family: IpFamily): Promise<IptablesRuleset> {
  const command = family === 4 ? "iptables-save" : "ip6tables-save";
  const { code, stdout, stderr } = await runner.run(command, []);
  if (code !== 0) throw new CodedError("MESH_CAPTURE_COMMAND_FAILED", `${command} failed: ${stderr.trim()}`, { facts: { command, code } });
  return parseIptablesSave(stdout);
}

/**
 * The tables and chains that iptables keeps in the kernel, as `ip nat` and
 * `ip nat OUTPUT`. By nft where there is one; else `ip nat *` stands for chains that cannot be told apart.
 */
export async function listXtables(runner: CommandRunner, facts: HostFacts): Promise<string[]> {
  const names = new Set<string>();
  const listed = await runner.run("nft", ["-j", "list", "chains"]);
  const tables = await runner.run("nft", ["-j", "list", "tables"]);
  if (listed.code === 0 && tables.code === 0) {
    for (const { table, chain } of [...nftObjects(tables.stdout), ...nftObjects(listed.stdout)]) {
      if (table && table.family !== "inet") names.add(`${table.family} ${table.name}`);
      if (chain && chain.family !== "inet") names.add(`${chain.family} ${chain.table} ${chain.name}`);
    }
  } else {
    for (const [family, ruleset] of facts.iptables) {
      for (const table of Object.keys(ruleset.tables)) {
        const name = `${family === 4 ? "ip" : "ip6"} ${table}`;
        names.add(name).add(`${name} *`);
      }
    }
  }
  return [...names].sort();
}

interface NftObject {
  readonly table?: { readonly family: string; readonly name: string };
  readonly chain?: { readonly family: string; readonly table: string; readonly name: string };
}

function nftObjects(json: string): readonly NftObject[] {
  return (JSON.parse(json) as { readonly nftables: readonly NftObject[] }).nftables;
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
