import type { OwnedPieces, WantedCapture } from "./capture-record.ts";
import { familyFlag } from "./host-facts.ts";
import type { Backend, HostFacts } from "./host-facts.ts";
import { renderIptables } from "./render-iptables.ts";
import { renderNft } from "./render-nft.ts";
import type { IpFamily } from "./rule.ts";

/** One command of a change to the host. A list of them is run by the agent, or by a script that outlives it. */
export interface CaptureStep {
  readonly command: string;
  readonly args: readonly string[];
  readonly input?: string;
  /** Tried when `input` is refused: what it removes was gone already. */
  readonly inputOtherwise?: string;
  /** It may find nothing to do. */
  readonly mayFail?: true;
  /** Only while this iptables table has neither chain nor rule. */
  readonly onlyIfEmptyTable?: { readonly family: "ip" | "ip6"; readonly table: string };
}

/** The mark of our routes in `ip route` (any number below 256 that no routing daemon registered). */
const ROUTE_PROTOCOL = "119";

/** Built-in chains that iptables creates when our jumps are placed. */
const CAUSED_CHAINS = [
  ["filter", ["INPUT", "OUTPUT"]],
  ["raw", ["OUTPUT"]],
  ["nat", ["PREROUTING", "OUTPUT"]],
] as const;

/**
 * The commands that put `wanted` in force, in order: routes and addresses that
 * rules rely on come before them, and go after them.
 */
export function captureSteps(backend: Backend, facts: HostFacts, wanted: WantedCapture, owned: OwnedPieces, xtablesBefore: readonly string[]): CaptureStep[] {
  const isNeeded = wanted.capture !== "absent";
  const keep = {
    routes: isNeeded ? owned.routes.filter((cidr) => wanted.plan.vipRanges.includes(cidr)) : [],
    addresses: isNeeded ? owned.addresses.filter((address) => wanted.plan.loopbackAddresses.includes(address)) : [],
  };
  return [
    ...keep.addresses.map(addAddress),
    ...keep.routes.map(addRoute),
    ...ruleSteps(backend, facts, wanted),
    ...owned.routes.filter((cidr) => !keep.routes.includes(cidr)).map(removeRoute),
    ...owned.addresses.filter((address) => !keep.addresses.includes(address)).map(removeAddress),
    ...(backend === "iptables" && !isNeeded && wanted.guard === "absent" ? emptyTableSteps(facts, xtablesBefore) : []),
  ];
}

function ruleSteps(backend: Backend, facts: HostFacts, wanted: WantedCapture): CaptureStep[] {
  if (backend === "nft") return [{ command: "nft", args: ["-f", "-"], input: renderNft(wanted.plan, wanted) }];
  return [...facts.iptables].flatMap(([family, present]) => {
    const input = renderIptables(wanted.plan, family, present, wanted);
    // Somebody flushed our jumps in between: nothing to take out, all to put in.
    const inputOtherwise = renderIptables(wanted.plan, family, { tables: {} }, wanted);
    if (input === "") return [];
    return [{ command: family === 4 ? "iptables-restore" : "ip6tables-restore", args: ["--noflush", "-w", "5"], input, inputOtherwise }];
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

/** iptables leaves the tables behind that it created for us; those that others filled meanwhile stay. */
function emptyTableSteps(facts: HostFacts, before: readonly string[]): CaptureStep[] {
  return [...facts.iptables.keys()].flatMap((family) => CAUSED_CHAINS.flatMap(([table, chains]) => tableSteps(family, table, chains, before)));
}

function tableSteps(family: IpFamily, table: string, chains: readonly string[], before: readonly string[]): CaptureStep[] {
  const name = family === 4 ? "ip" : "ip6";
  const hadTable = before.includes(`${name} ${table}`);
  const caused = before.includes(`${name} ${table} *`) ? [] : chains.filter((chain) => !before.includes(`${name} ${table} ${chain}`));
  return [
    // -X refuses a chain that has rules.
    ...caused.map((chain): CaptureStep => ({ command: family === 4 ? "iptables" : "ip6tables", args: ["-w", "5", "-t", table, "-X", chain], mayFail: true })),
    ...(hadTable ? [] : [{ command: "nft", args: ["delete", "table", name, table], mayFail: true, onlyIfEmptyTable: { family: name, table } } as const]),
  ];
}
