import { isIP } from "node:net";
import { DELIVERY_SOURCE, SSH_PORT } from "./capture-spec.ts";
import type { CaptureSpec, InboundPort } from "./capture-spec.ts";

export type IpFamily = 4 | 6;

/**
 * What a rule looks at; all given fields must hold. `tcp-syn` is the opening
 * packet only: a rule that matched more would reset connections that were
 * established before it was loaded.
 */
export interface RuleMatch {
  readonly protocol?: "tcp-syn" | "udp";
  /** Set whenever an address is matched; a rule without it holds for both families. */
  readonly family?: IpFamily;
  readonly sources?: readonly string[];
  readonly destinations?: readonly string[];
  /** The destination is an address of this host. */
  readonly isToLocal?: true;
  readonly destinationPorts?: readonly number[];
  readonly uids?: readonly number[];
  readonly cgroup?: string;
  /** Received from this host itself. */
  readonly isFromLoopback?: true;
  /** Its destination was rewritten on the way: it was captured, not dialed. */
  readonly isRedirected?: true;
  readonly isEstablished?: true;
}

export type RuleVerdict =
  | { readonly kind: "return" }
  | { readonly kind: "jump"; readonly chain: ChainName }
  | { readonly kind: "redirect"; readonly port: number }
  | { readonly kind: "zone"; readonly zone: number }
  | { readonly kind: "reject" };

export interface Rule {
  readonly comment: string;
  readonly match: RuleMatch;
  readonly verdict: RuleVerdict;
}

/**
 * `prerouting` and `output` rewrite destinations, `outbound` is what `output`
 * jumps to, `dns_zone` runs before connection tracking, `vip_guard` filters
 * what leaves; the two guards outlive capture.
 */
export type ChainName = "dns_zone" | "prerouting" | "output" | "outbound" | "vip_guard" | GuardChainName;
export type GuardChainName = "guard_input" | "guard_output";

/** All that a drained chain holds: it captures nothing, and keeps connection tracking in use. */
export const DRAIN_RULE: Rule = { comment: "captured connections end by themselves", match: { isEstablished: true }, verdict: { kind: "return" } };

/** First in every chain that could touch it. */
export function sshRule(): Rule {
  return { comment: "SSH is never touched", match: { protocol: "tcp-syn", destinationPorts: [SSH_PORT] }, verdict: { kind: "return" } };
}

/** The proxy hands a connection to the application, or the agent probes it: from 127.0.0.6 or ::6, and only these users. */
export function deliveryRules(spec: CaptureSpec): Rule[] {
  const uids = [spec.proxyUid, ...(spec.probeUids ?? [])];
  return ([4, 6] as const).map((family) => ({
    comment: "delivery to the application",
    match: { protocol: "tcp-syn", family, sources: [family === 4 ? DELIVERY_SOURCE.v4 : DELIVERY_SOURCE.v6], uids },
    verdict: { kind: "return" },
  }));
}

/** Matches connections to inbound ports: one match for the ports of all local addresses, one for each address that is named. */
export function inboundMatches(inbound: readonly InboundPort[]): RuleMatch[] {
  const anywhere = inbound.filter((port) => port.addresses === undefined).map((port) => port.port);
  const addressed = new Map<string, number[]>();
  for (const { addresses = [], port } of inbound) {
    for (const address of addresses) addressed.set(address, [...(addressed.get(address) ?? []), port]);
  }
  return [
    ...[...addressed].sort(([a], [b]) => compareText(a, b)).map(([address, ports]): RuleMatch => ({
      protocol: "tcp-syn",
      family: isIP(address) === 4 ? 4 : 6,
      destinations: [address],
      isToLocal: true,
      destinationPorts: sorted(ports),
    })),
    ...(anywhere.length > 0 ? [{ protocol: "tcp-syn", isToLocal: true, destinationPorts: sorted(anywhere) } as const] : []),
  ];
}

/** Ascending and without repeats. */
export function sorted(numbers: readonly number[]): number[] {
  return [...new Set(numbers)].sort((a, b) => a - b);
}

/** Orders text by code unit, the same on every machine. */
export function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
