import type { OwnedPieces, WantedCapture } from "./capture-record.ts";
import { familyFlag } from "./host-facts.ts";
import type { Backend } from "./host-facts.ts";
import type { IptablesRuleset } from "./iptables-ruleset.ts";
import { CAUSED_CHAINS, iptablesCommand } from "./iptables-tables.ts";
import type { IptablesCommand } from "./iptables-tables.ts";
import { IPTABLES_TABLES, renderIptables } from "./render-iptables.ts";
import type { IptablesTableName } from "./render-iptables.ts";
import { renderNft } from "./render-nft.ts";
import type { IpFamily } from "./rule.ts";

/** One command of a change to the host. A list of them is run by the agent, or by a script that outlives it. */
export interface CaptureStep {
  readonly command: string;
  readonly args: readonly string[];
  /** What it reads: the first of these that it accepts. Each fits another state that the host may be in. */
  readonly inputs?: readonly string[];
  /** It may find nothing to do. */
  readonly mayFail?: true;
  /** Only while this table of iptables holds nothing of anybody. */
  readonly onlyIfUnused?: { readonly saveCommand: string; readonly table: string };
}

/** For each family in use what iptables may hold, the likeliest first: one state where it was looked up. Empty with nft. */
export type IptablesStates = ReadonlyMap<IpFamily, readonly IptablesRuleset[]>;

/** For iptables-legacy, where one program at a time may change the tables. */
const WAIT = ["-w", "5"] as const;

/** The mark of our routes in `ip route` (any number below 256 that no routing daemon registered). */
const ROUTE_PROTOCOL = "119";

/**
 * The commands that put `wanted` in force, in order: routes and addresses that
 * rules rely on come before them, and go after them.
 */
export function captureSteps(backend: Backend, iptables: IptablesStates, wanted: WantedCapture, owned: OwnedPieces, xtablesBefore: readonly string[]): CaptureStep[] {
  const isNeeded = wanted.capture !== "absent";
  const keep = {
    routes: isNeeded ? owned.routes.filter((cidr) => wanted.plan.vipRanges.includes(cidr)) : [],
    addresses: isNeeded ? owned.addresses.filter((address) => wanted.plan.loopbackAddresses.includes(address)) : [],
  };
  return [
    ...keep.addresses.map(addAddress),
    ...keep.routes.map(addRoute),
    ...ruleSteps(backend, iptables, wanted),
    ...owned.routes.filter((cidr) => !keep.routes.includes(cidr)).map(removeRoute),
    ...owned.addresses.filter((address) => !keep.addresses.includes(address)).map(removeAddress),
    ...(backend === "iptables" && !isNeeded && wanted.guard === "absent" ? unusedTableSteps(iptables, xtablesBefore) : []),
  ];
}

function ruleSteps(backend: Backend, iptables: IptablesStates, wanted: WantedCapture): CaptureStep[] {
  if (backend === "nft") return [{ command: "nft", args: ["-f", "-"], inputs: [renderNft(wanted.plan, wanted)] }];
  return [...iptables].flatMap(([family, states]) => {
    // The last for where somebody flushed our jumps: nothing to take out, all to put in.
    const inputsOf = (tables: readonly IptablesTableName[]): string[] => {
      const inputs = new Set([...states, { tables: {} }].map((state) => renderIptables(wanted.plan, family, state, wanted, tables)));
      // One that changes nothing is accepted in every state.
      return [...[...inputs].filter((input) => input !== ""), ...(inputs.has("") ? [""] : [])];
    };
    const step = (tables: readonly IptablesTableName[]): CaptureStep => ({ command: `${iptablesCommand(family)}-restore`, args: ["--noflush", ...WAIT], inputs: inputsOf(tables) });
    // Each table is a transaction of its own. Where the state is not known, one may be in another state than the next.
    const steps = states.length === 1 ? [step(IPTABLES_TABLES)] : IPTABLES_TABLES.map((table) => step([table]));
    return steps.filter(({ inputs }) => inputs?.some((input) => input !== ""));
  });
}

function addRoute(cidr: string): CaptureStep {
  // Without a source, an IPv4 connection to a local range takes the virtual address itself as its own.
  const source = cidr.includes(":") ? [] : ["src", "127.0.0.1"];
  return { command: "ip", args: [familyFlag(cidr), "route", "replace", "local", cidr, "dev", "lo", ...source, "proto", ROUTE_PROTOCOL] };
}

function removeRoute(cidr: string): CaptureStep {
  return { command: "ip", args: [familyFlag(cidr), "route", "del", "local", cidr, "dev", "lo", "proto", ROUTE_PROTOCOL], mayFail: true };
}

function addAddress(address: string): CaptureStep {
  // Deprecated from the start, so that nothing but the proxy's explicit bind takes it as its source.
  return { command: "ip", args: [familyFlag(address), "address", "replace", address, "dev", "lo", "nodad", "preferred_lft", "0"] };
}

function removeAddress(address: string): CaptureStep {
  return { command: "ip", args: [familyFlag(address), "address", "del", address, "dev", "lo"], mayFail: true };
}

/**
 * Takes away the tables and built-in chains that iptables created for us.
 * Those that others filled meanwhile stay: -X refuses a chain that has rules.
 */
function unusedTableSteps(iptables: IptablesStates, before: readonly string[]): CaptureStep[] {
  return [...iptables.keys()].flatMap((family) => CAUSED_CHAINS.flatMap(([table, chains]) => tableSteps(iptablesCommand(family), table, chains, before)));
}

function tableSteps(command: IptablesCommand, table: string, chains: readonly string[], before: readonly string[]): CaptureStep[] {
  const caused = chains.filter((chain) => !before.includes(`${command} ${table} ${chain}`));
  return [
    ...caused.map((chain): CaptureStep => ({ command, args: [...WAIT, "-t", table, "-X", chain], mayFail: true })),
    ...(before.includes(`${command} ${table}`) ? [] : [removeTable(command, table)]),
  ];
}

/** What restores an empty table, without --noflush, deletes it first; iptables-nft then has no reason to make it again. */
function removeTable(command: IptablesCommand, table: string): CaptureStep {
  return { command: `${command}-restore`, args: WAIT, inputs: [`*${table}\nCOMMIT\n`], mayFail: true, onlyIfUnused: { saveCommand: `${command}-save`, table } };
}
