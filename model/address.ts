import { isIP, isIPv4 } from "node:net";

export type AddressFamily = "ipv4" | "ipv6";

/** The family of an IP address; undefined for anything else, such as a host name. */
export function familyOf(address: string): AddressFamily | undefined {
  if (isIPv4(address)) return "ipv4";
  return isIP(address) === 6 ? "ipv6" : undefined;
}

/** `1.2.3.4:80`, `[fd77::1]:80`. */
export function formatHostPort(address: string, port: number): string {
  return familyOf(address) === "ipv6" ? `[${address}]:${port}` : `${address}:${port}`;
}
