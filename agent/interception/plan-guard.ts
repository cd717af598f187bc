import type { CaptureSpec } from "./capture-spec.ts";
import { deliveryRules, inboundMatches, sorted, sshRule } from "./rule.ts";
import type { GuardChainName, Rule, RuleMatch } from "./rule.ts";

/**
 * The rules that stay when capture is paused: nobody reaches a fail-closed
 * port around the proxy, and nobody dials a capture port to borrow the
 * identity that its listener stands for.
 *
 * What a process of this host opens is judged in `guard_output`, the only
 * place where its user is known; everything else in `guard_input`. Both see a
 * packet after it was captured, so a captured connection goes to the
 * listener's port here and no longer to the application's.
 */
export function planGuard(spec: CaptureSpec): Readonly<Record<GuardChainName, readonly Rule[]>> {
  const closed = closedMatches(spec);
  const listeners = sorted([...(spec.inbound.length > 0 ? [spec.inboundListenerPort] : []), ...spec.outbound.map((capture) => capture.outboundPort)]);
  const unguarded = [sshRule(), ...managementRules(spec)];
  return {
    guard_input: [
      ...(listeners.length + closed.length > 0 ? unguarded : []),
      ...(listeners.length > 0 ? listenerRules(listeners) : []),
      ...(closed.length > 0
        ? [
            { comment: "judged when it was sent", match: { isFromLoopback: true }, verdict: { kind: "return" } } as const,
            ...openRules(spec),
            ...closed,
          ]
        : []),
    ],
    guard_output: closed.length > 0 ? [...unguarded, ...deliveryRules(spec), ...openRules(spec), ...closed] : [],
  };
}

function managementRules(spec: CaptureSpec): Rule[] {
  const ports = sorted(spec.managementPorts);
  if (ports.length === 0) return [];
  return [{ comment: "management ports are never closed", match: { protocol: "tcp-syn", destinationPorts: ports }, verdict: { kind: "return" } }];
}

function listenerRules(ports: readonly number[]): Rule[] {
  const dialed: RuleMatch = { protocol: "tcp-syn", isToLocal: true, destinationPorts: ports };
  return [
    { comment: "captured", match: { ...dialed, isRedirected: true }, verdict: { kind: "return" } },
    { comment: "capture ports cannot be dialed", match: dialed, verdict: { kind: "reject" } },
  ];
}

/** A fail-closed port that shares its number with an open one on named addresses leaves those alone. */
function openRules(spec: CaptureSpec): Rule[] {
  const closedPorts = new Set(spec.inbound.filter((port) => port.failClosed).map((port) => port.port));
  const open = spec.inbound.filter((port) => !port.failClosed && port.addresses !== undefined && closedPorts.has(port.port));
  return inboundMatches(open).map((match) => ({ comment: "served openly on this address", match, verdict: { kind: "return" } }));
}

/**
 * A port is closed on every local address, also on those that its workload
 * does not name: an application that binds the wildcard would be reachable
 * there. Only where the same port is open on all others is it closed by address.
 */
function closedMatches(spec: CaptureSpec): Rule[] {
  const closed = spec.inbound.filter((port) => port.failClosed);
  const openEverywhere = new Set(spec.inbound.filter((port) => !port.failClosed && port.addresses === undefined).map((port) => port.port));
  const everywhere = closed.map(({ addresses, ...port }) => (addresses !== undefined && openEverywhere.has(port.port) ? { ...port, addresses } : port));
  return inboundMatches(everywhere).map((match) => ({ comment: "only through the proxy", match, verdict: { kind: "reject" } }));
}
