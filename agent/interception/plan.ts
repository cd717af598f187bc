import { isAcceptable } from "../../base/issue.ts";
import type { Issue } from "../../base/issue.ts";
import { err, ok } from "../../base/result.ts";
import type { Result } from "../../base/result.ts";
import { DELIVERY_SOURCE } from "./capture-spec.ts";
import type { CaptureSpec, OutboundCapture } from "./capture-spec.ts";
import { planGuard } from "./plan-guard.ts";
import { compareText, deliveryRules, inboundMatches, sorted, sshRule } from "./rule.ts";
import type { ChainName, GuardChainName, IpFamily, Rule, RuleMatch, RuleVerdict } from "./rule.ts";
import { cidrFamily, validateCaptureSpec } from "./validate-spec.ts";

/** The rules of a host, in the order in which they hold. Plain data: it is kept on disk as it is. */
export interface CapturePlan {
  readonly capture: Readonly<Record<Exclude<ChainName, GuardChainName>, readonly Rule[]>>;
  readonly guard: Readonly<Record<GuardChainName, readonly Rule[]>>;
  /** Ports that captured connections end at; a removal waits until they are idle. */
  readonly listenerPorts: readonly number[];
  /** Ranges that need a route, else connect() fails before a rule sees the packet. */
  readonly vipRanges: readonly string[];
  /** Addresses that the loopback device must have. */
  readonly loopbackAddresses: readonly string[];
}

/** Captured queries are tracked apart, so that the resolver's own query from the same port is not mistaken for one. */
const DNS_ZONE = 15_053;
const DNS_PORT = 53;

/** The rules that a spec asks for, or every reason why it cannot be had. Pure: equal specs give equal plans. */
export function planCapture(spec: CaptureSpec): Result<CapturePlan, Issue[]> {
  const issues = validateCaptureSpec(spec);
  if (!isAcceptable(issues)) return err(issues);
  const vips = [...spec.vips.v4, ...spec.vips.v6];
  return ok({
    capture: {
      dns_zone: dnsZoneRules(spec),
      prerouting: preroutingRules(spec),
      output: outputRules(spec),
      outbound: outboundRules(spec),
      vip_guard: vips.length > 0 ? [sshRule(), ...vipRules(spec, "a virtual address that nobody captured", { kind: "reject" })] : [],
    },
    guard: planGuard(spec),
    listenerPorts: [spec.inboundListenerPort, ...spec.outbound.map((capture) => capture.outboundPort)],
    vipRanges: vips,
    loopbackAddresses: spec.inbound.length > 0 ? [`${DELIVERY_SOURCE.v6}/128`] : [],
  });
}

/** Captures, closes and reserves nothing: what a host without workloads has. */
export const EMPTY_PLAN: CapturePlan = {
  capture: { dns_zone: [], prerouting: [], output: [], outbound: [], vip_guard: [] },
  guard: { guard_input: [], guard_output: [] },
  listenerPorts: [],
  vipRanges: [],
  loopbackAddresses: [],
};

/** The same, except that name queries of workloads go where they were sent. */
export function withoutNameQueries(plan: CapturePlan): CapturePlan {
  const outbound = plan.capture.outbound.filter(({ match, verdict }) => verdict.kind !== "redirect" || match.destinationPorts?.join() !== String(DNS_PORT));
  return { ...plan, capture: { ...plan.capture, dns_zone: [], outbound } };
}

function preroutingRules(spec: CaptureSpec): Rule[] {
  if (spec.inbound.length === 0) return [];
  return [
    { comment: "decided when it was sent", match: { isFromLoopback: true }, verdict: { kind: "return" } },
    sshRule(),
    ...vipRules(spec, "virtual addresses are for processes of this host", { kind: "return" }),
    ...inboundMatches(spec.inbound).map((match): Rule => ({ comment: "inbound", match, verdict: { kind: "redirect", port: spec.inboundListenerPort } })),
  ];
}

/**
 * Deliveries pass; then what workloads open, then what anybody on this host
 * opens to a declared port. The order matters: a workload's call to its
 * neighbour leaves under its own identity, and what the proxy then opens to
 * the neighbour's port meets that port's policy.
 */
function outputRules(spec: CaptureSpec): Rule[] {
  if (spec.outbound.length === 0 && spec.inbound.length === 0) return [];
  const toInbound = (comment: string, match: RuleMatch): Rule => ({ comment, match, verdict: { kind: "redirect", port: spec.inboundListenerPort } });
  const closed = spec.inbound.filter((port) => port.failClosed);
  const open = spec.inbound.filter((port) => !port.failClosed);
  return [
    sshRule(),
    ...deliveryRules(spec),
    ...(spec.outbound.length > 0 ? [{ comment: "what workloads open", match: {}, verdict: { kind: "jump", chain: "outbound" } } as const] : []),
    ...vipRules(spec, "no virtual address is an inbound one", { kind: "return" }),
    ...inboundMatches(closed).map((match) => toInbound("inbound from this host, policy applies", match)),
    ...inboundMatches(open).map((match) => toInbound("inbound from the proxy", { ...match, uids: [spec.proxyUid] })),
    ...(open.length > 0 ? loopbackRules("open ports stay reachable on loopback") : []),
    ...inboundMatches(open).map((match) => toInbound("inbound from this host", match)),
  ];
}

function outboundRules(spec: CaptureSpec): Rule[] {
  if (spec.outbound.length === 0) return [];
  const owners = spec.outbound.flatMap((capture) => ownerMatches(capture).map((owner) => ({ capture, owner })));
  // A cgroup inside another one is the closer description.
  owners.sort((a, b) => depth(b.owner.cgroup) - depth(a.owner.cgroup));
  const each = (match: RuleMatch, portOf: (capture: OutboundCapture) => number, what: string): Rule[] =>
    owners.map(({ capture, owner }) => ({
      comment: `${what} of ${capture.workload}`,
      match: { ...match, ...owner },
      verdict: { kind: "redirect", port: portOf(capture) },
    }));
  const dns = spec.dns?.capture === true ? spec.dns : undefined;
  return [
    { comment: "the proxy's own connections", match: { uids: [spec.proxyUid] }, verdict: { kind: "return" } },
    ...(dns ? each({ protocol: "udp", destinationPorts: [DNS_PORT] }, () => dns.port, "queries") : []),
    ...(dns ? each({ protocol: "tcp-syn", destinationPorts: [DNS_PORT] }, () => dns.port, "queries") : []),
    ...byFamily([...spec.vips.v4, ...spec.vips.v6]).flatMap(({ family, cidrs }) =>
      each({ protocol: "tcp-syn", family, destinations: cidrs }, (capture) => capture.outboundPort, "virtual addresses, outbound"),
    ),
    ...(spec.outboundScope === "all" ? [...excludedRules(spec), ...each({ protocol: "tcp-syn" }, (capture) => capture.outboundPort, "outbound")] : []),
  ];
}

function excludedRules(spec: CaptureSpec): Rule[] {
  const ports = sorted(spec.exclusions.ports);
  return [
    ...loopbackRules("loopback is not captured"),
    ...(ports.length > 0 ? [{ comment: "excluded ports", match: { protocol: "tcp-syn", destinationPorts: ports }, verdict: { kind: "return" } } as const] : []),
    ...byFamily(spec.exclusions.cidrs).map(({ family, cidrs }): Rule => ({
      comment: "excluded ranges",
      match: { protocol: "tcp-syn", family, destinations: cidrs },
      verdict: { kind: "return" },
    })),
  ];
}

function dnsZoneRules(spec: CaptureSpec): Rule[] {
  if (spec.dns?.capture !== true) return [];
  const queries = { protocol: "udp", destinationPorts: [DNS_PORT] } as const;
  return [
    { comment: "the proxy's own queries", match: { ...queries, uids: [spec.proxyUid] }, verdict: { kind: "return" } },
    ...spec.outbound.flatMap((capture) =>
      ownerMatches(capture).map((owner): Rule => ({
        comment: `queries of ${capture.workload}`,
        match: { ...queries, ...owner },
        verdict: { kind: "zone", zone: DNS_ZONE },
      })),
    ),
  ];
}

function ownerMatches({ match }: OutboundCapture): Pick<RuleMatch, "uids" | "cgroup">[] {
  const cgroups = [...new Set((match.cgroups ?? []).map((path) => path.replace(/^\//, "")))].sort(compareText);
  return [...cgroups.map((cgroup) => ({ cgroup })), ...((match.uids ?? []).length > 0 ? [{ uids: sorted(match.uids ?? []) }] : [])];
}

function vipRules(spec: CaptureSpec, comment: string, verdict: RuleVerdict): Rule[] {
  return byFamily([...spec.vips.v4, ...spec.vips.v6]).map(({ family, cidrs }) => ({
    comment,
    match: { protocol: "tcp-syn", family, destinations: cidrs },
    verdict,
  }));
}

function loopbackRules(comment: string): Rule[] {
  return byFamily(["127.0.0.0/8", "::1/128"]).map(({ family, cidrs }) => ({
    comment,
    match: { protocol: "tcp-syn", family, destinations: cidrs },
    verdict: { kind: "return" },
  }));
}

function byFamily(cidrs: readonly string[]): { family: IpFamily; cidrs: readonly string[] }[] {
  return ([4, 6] as const)
    .map((family) => ({ family, cidrs: [...new Set(cidrs.filter((cidr) => cidrFamily(cidr) === family))].sort(compareText) }))
    .filter((group) => group.cidrs.length > 0);
}

function depth(cgroup: string | undefined): number {
  return cgroup === undefined ? 0 : cgroup.split("/").length;
}
