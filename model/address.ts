import { BlockList, isIP, isIPv4, SocketAddress } from "node:net";

export type AddressFamily = "ipv4" | "ipv6";

/** The family of an IP address; undefined for anything else, such as a host name, or an address with the zone of one host. */
export function familyOf(address: string): AddressFamily | undefined {
  if (isIPv4(address)) return "ipv4";
  return isIP(address) === 6 && !address.includes("%") ? "ipv6" : undefined;
}

/** The one way to write an address that may be written in several, such as `FD00:0::1`, or `::ffff:10.0.0.1`, which leads to 10.0.0.1; anything else as it is. */
export function canonicalAddress(address: string): string {
  if (familyOf(address) !== "ipv6") return address;
  const canonical = new SocketAddress({ address, family: "ipv6" }).address;
  return /^::ffff:(\d+\.\d+\.\d+\.\d+)$/.exec(canonical)?.[1] ?? canonical;
}

/** Loopback, "any", link-local and multicast: RFC 6890, and RFC 5771 and 4291 for the last. */
const OWN_TO_EACH_HOST = blockListOf(["0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "::/127", "fe80::/10", "ff00::/8"]);

/** True for an IP address, or `localhost`, that means something else on each host, so that it is nobody's place in a mesh. */
export function isOwnToEachHost(address: string): boolean {
  const family = familyOf(address);
  return family === undefined ? /^(?:.+\.)?localhost$/i.test(address) : OWN_TO_EACH_HOST.check(address, family);
}

/** `1.2.3.4:80`, `[fd77::1]:80`. */
export function formatHostPort(address: string, port: number): string {
  return familyOf(address) === "ipv6" ? `[${address}]:${port}` : `${address}:${port}`;
}

/** Whether an address lies in any of some ranges, each in CIDR form or a single address; never, for what is no IP address. */
export function isWithin(address: string, ranges: readonly string[]): boolean {
  const family = familyOf(address);
  return family !== undefined && knownListOf(ranges).check(address, family);
}

/** Making a list takes longer than asking it a hundred times; most ranges are asked about for every service. */
const KNOWN_LISTS = new WeakMap<readonly string[], BlockList>();

function knownListOf(ranges: readonly string[]): BlockList {
  const known = KNOWN_LISTS.get(ranges) ?? blockListOf(ranges);
  KNOWN_LISTS.set(ranges, known);
  return known;
}

function blockListOf(ranges: readonly string[]): BlockList {
  const list = new BlockList();
  for (const range of ranges) {
    const [base = "", bits] = range.split("/");
    const family = familyOf(base) ?? "ipv4";
    const wholeLength = family === "ipv4" ? 32 : 128;
    list.addSubnet(base, bits === undefined ? wholeLength : Number(bits), family);
  }
  return list;
}
