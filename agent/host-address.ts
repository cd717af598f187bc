import { readFile } from "node:fs/promises";
import { isIPv6 } from "node:net";
import type { NetworkInterfaceInfo } from "node:os";

import { isWithin } from "../model/address.ts";

export interface AddressChoice {
  readonly addresses: readonly string[];
  /** One sentence for each, for the log. */
  readonly reasons: readonly string[];
}

export type Interfaces = Readonly<Record<string, readonly Pick<NetworkInterfaceInfo, "address" | "internal">[] | undefined>>;

/**
 * The addresses at which other hosts reach this one. Deterministic: of each
 * family one, from the interface of the default route, else from the first
 * interface by name; within an interface the lowest. With `wanted` (addresses
 * or ranges) exactly those that match, in the order wanted.
 *
 * @param defaults interface of the default route, by family
 */
export function chooseAddresses(interfaces: Interfaces, defaults: { readonly v4?: string | undefined; readonly v6?: string | undefined }, wanted: readonly string[] | undefined): AddressChoice {
  const candidates = Object.entries(interfaces)
    .flatMap(([device, infos]) => (infos ?? []).filter(({ address, internal }) => !internal && !isLinkLocal(address)).map(({ address }) => ({ device, address })))
    .toSorted((a, b) => compare(a.device, b.device) || compare(sortKey(a.address), sortKey(b.address)));
  if (wanted !== undefined) {
    const found = wanted.flatMap((range) => candidates.filter(({ address }) => isWithin(address, [range])).map((candidate) => ({ ...candidate, range })));
    return {
      addresses: [...new Set(found.map(({ address }) => address))],
      reasons: found.map(({ device, address, range }) => `${address} (${device}): inside ${range} of the configuration`),
    };
  }
  const chosen = (["v4", "v6"] as const).flatMap((family) => {
    const ofFamily = candidates.filter(({ address }) => isIPv6(address) === (family === "v6"));
    const routed = ofFamily.find(({ device }) => device === defaults[family]);
    const pick = routed ?? ofFamily[0];
    if (pick === undefined) return [];
    const why = routed === undefined ? "no default route, first interface by name" : "the default route's interface";
    return [{ address: pick.address, reason: `${pick.address} (${pick.device}): ${why}${ofFamily.length > 1 ? `, of ${ofFamily.length} candidates` : ""}` }];
  });
  return { addresses: chosen.map(({ address }) => address), reasons: chosen.map(({ reason }) => reason) };
}

/** The interfaces of the default routes, from the kernel's tables. */
export async function defaultRouteInterfaces(): Promise<{ readonly v4?: string | undefined; readonly v6?: string | undefined }> {
  const v4 = (await readFile("/proc/net/route", "utf8").catch(() => "")).split("\n").slice(1).map((line) => line.split("\t"));
  const v6 = (await readFile("/proc/net/ipv6_route", "utf8").catch(() => "")).split("\n").map((line) => line.split(/\s+/));
  return {
    // Destination and mask 0; the kernel lists the lowest metric first for equal destinations.
    v4: v4.filter((fields) => fields[1] === "00000000" && fields[7] === "00000000").toSorted((a, b) => Number(a[6]) - Number(b[6]))[0]?.[0],
    v6: v6.filter((fields) => /^0{32}$/.test(fields[0] ?? "") && fields[1] === "00" && fields[9] !== "lo").toSorted((a, b) => compare(a[5] ?? "", b[5] ?? ""))[0]?.[9],
  };
}

function isLinkLocal(address: string): boolean {
  return /^fe[89ab]/i.test(address) || address.startsWith("169.254.");
}

function sortKey(address: string): string {
  return isIPv6(address) ? address : address.split(".").map((part) => part.padStart(3, "0")).join(".");
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
