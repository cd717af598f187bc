import { isIP, isIPv4 } from "node:net";

/**
 * Whom a peer's address, with or without its port, stands for: the IPv4
 * address, or the /64 of an IPv6 address, of which one machine has all. Other
 * text is given back.
 */
export function peerNetwork(peer: string): string {
  if (isIPv4(peer)) return peer;
  const address = peer.slice(0, Math.max(0, peer.lastIndexOf(":")));
  const mapped = address.replace(/^::ffff:(?=\d+\.)/i, "");
  if (isIPv4(mapped)) return mapped;
  return isIP(address) === 6 ? `${firstGroups(address)}::/64` : peer;
}

function firstGroups(address: string): string {
  const [head = [], tail = []] = (address.split("%")[0] ?? "").split("::").map((half) => half.split(":").filter(Boolean));
  const zeros = Array.from({ length: Math.max(0, 8 - head.length - tail.length) }, () => "0");
  const groups = [...head, ...zeros, ...tail].slice(0, 4);
  return groups.map((group) => Number.parseInt(group, 16).toString(16)).join(":");
}
