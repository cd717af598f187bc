/** The name that asks for an IP address's own: `5.0.240.240.in-addr.arpa` (RFC 1035 §3.5), or nibbles under `ip6.arpa` (RFC 3596 §2.5). */
export function reverseName(address: string): string {
  if (!address.includes(":")) return `${address.split(".").toReversed().join(".")}.in-addr.arpa`;
  return `${groupsOf(address).map((group) => group.padStart(4, "0")).join("").split("").toReversed().join(".")}.ip6.arpa`;
}

/** The eight groups of an IPv6 address without zone. */
function groupsOf(address: string): string[] {
  // Its canonical text has no dotted part.
  const [head = "", tail] = new URL(`http://[${address}]`).hostname.slice(1, -1).split("::");
  const before = head === "" ? [] : head.split(":");
  const after = tail === undefined || tail === "" ? [] : tail.split(":");
  return [...before, ...Array.from({ length: 8 - before.length - after.length }, () => "0"), ...after];
}
