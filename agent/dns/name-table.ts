import { familyOf } from "../../model/address.ts";
import { reverseName } from "./reverse-name.ts";
import { serviceAsked } from "./service-name.ts";
import type { NamePort } from "./service-name.ts";

/** What the mesh knows about one service by name. */
export interface NameEntry {
  /** The name that its other names stand for. */
  readonly canonical: string;
  readonly v4: readonly string[];
  readonly v6: readonly string[];
  readonly ports: readonly NamePort[];
}

/** A name as the control plane tells it. Control planes of before know neither aliases nor ports. */
export interface NameTold {
  readonly name: string;
  readonly addresses: readonly string[];
  /** What else it is called, by the registry that it is from. */
  readonly aliases?: readonly string[];
  readonly ports?: readonly NamePort[];
}

export type NameAnswer =
  | {
      readonly kind: "found";
      /** Differs from what was asked where a search domain had been appended to it. */
      readonly name: string;
      readonly entry: NameEntry;
      /** `address`: the service's own name; `service`: some of its ports, as SRV asks for them. */
      readonly asks: "address" | "service";
      readonly ports: readonly NamePort[];
      /** False: another resolver may know better, and is asked first. */
      readonly isOurs: boolean;
    }
  /** The address of one of ours; another resolver may know better. */
  | { readonly kind: "reverse"; readonly canonical: string }
  /** Under the mesh's own domain, and nobody has it. */
  | { readonly kind: "absent" }
  /** Under the mesh's own domain, and nothing is known yet. */
  | { readonly kind: "unknown-yet" }
  /** Somebody else's. */
  | { readonly kind: "foreign" };

/** The names that this host answers for. Immutable. */
export interface NameTable {
  /** Domains of which every name is ours, such as `mesh.internal`. */
  readonly ownDomains: readonly string[];
  /** False until the control plane (or the disk) has given the names. */
  readonly isLoaded: boolean;
  /** Those under our own domains, and those that we know for somebody else. */
  readonly entries: ReadonlyMap<string, NameEntry>;
  /** One of the addresses of IPv6, by which the host's way to all of them is looked for; undefined where there are none. */
  readonly someIpv6: string | undefined;
  /** Canonical names by the reverse names of their addresses. */
  readonly reverse: ReadonlyMap<string, string>;
}

/** Before anything was told: what is ours by default is nobody else's (`internal` is reserved), and is not given away. */
export const EMPTY_NAME_TABLE: NameTable = { ownDomains: ["mesh.internal"], isLoaded: false, entries: new Map(), someIpv6: undefined, reverse: new Map() };

/** What a message cannot hold is left out (a name that is none, an address with a zone, a port above 65535); of two records for a name the first holds, and a record's own name goes before an alias. */
export function buildNameTable(records: Iterable<NameTold>, ownDomains: readonly string[]): NameTable {
  const entries = new Map<string, NameEntry>();
  const aliases = new Map<string, NameEntry>();
  const reverse = new Map<string, string>();
  let someIpv6: string | undefined;
  const own = ownDomains.map(normalize);
  for (const record of records) {
    const canonical = normalize(record.name);
    if (!isName(canonical)) continue;
    const v4 = record.addresses.filter((address) => familyOf(address) === "ipv4");
    const v6 = record.addresses.filter((address) => familyOf(address) === "ipv6");
    const entry = { canonical, v4, v6, ports: (record.ports ?? []).filter(({ number }) => number > 0 && number <= 65_535) };
    if (!entries.has(canonical)) entries.set(canonical, entry);
    for (const alias of (record.aliases ?? []).map(normalize).filter(isName)) if (!aliases.has(alias)) aliases.set(alias, entry);
    // Only addresses of the mesh's own names: those of others are their owners' to name.
    if (!isUnder(canonical, own)) continue;
    someIpv6 ??= v6[0];
    for (const address of [...v4, ...v6]) reverse.set(reverseName(address), canonical);
  }
  for (const [alias, entry] of aliases) if (!entries.has(alias)) entries.set(alias, entry);
  return { ownDomains: own, isLoaded: true, entries, someIpv6, reverse };
}

/**
 * Looks a name up as it is, and then without each search domain of the host: a
 * resolver that tries `reviews.shop.svc.mesh.internal.corp.example` first is
 * answered at once, and the name does not leave the host.
 */
export function lookUpName(table: NameTable, name: string, searchDomains: readonly string[]): NameAnswer {
  const asked = normalize(name);
  const found = find(table, asked);
  if (found !== undefined) return found;
  for (const domain of searchDomains) {
    const suffix = `.${normalize(domain)}`;
    if (suffix === "." || !asked.endsWith(suffix)) continue;
    const stripped = asked.slice(0, -suffix.length);
    // A one-label name plus the search domain is the local domain's own name, and so are short ones: only our own full names are ours.
    const meant = isUnder(stripped, table.ownDomains) ? find(table, stripped) : undefined;
    if (meant !== undefined) return meant;
  }
  const canonical = table.reverse.get(asked);
  if (canonical !== undefined) return { kind: "reverse", canonical };
  if (!isUnder(asked, table.ownDomains)) return { kind: "foreign" };
  return { kind: table.isLoaded ? "absent" : "unknown-yet" };
}

function find(table: NameTable, name: string): Extract<NameAnswer, { kind: "found" }> | undefined {
  const entry = table.entries.get(name);
  const isOurs = isUnder(name, table.ownDomains);
  if (entry !== undefined) return { kind: "found", name, entry, asks: "address", ports: entry.ports, isOurs };
  for (const { service, accepts } of serviceAsked(name)) {
    const meant = table.entries.get(service);
    const ports = meant?.ports.filter(accepts) ?? [];
    if (meant !== undefined && ports.length > 0) return { kind: "found", name, entry: meant, asks: "service", ports, isOurs };
  }
  return undefined;
}

const NAME = /^(?=.{1,253}$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*$/;

function isName(name: string): boolean {
  return NAME.test(name);
}

function isUnder(name: string, domains: readonly string[]): boolean {
  return domains.some((domain) => name === domain || name.endsWith(`.${domain}`));
}

/** Lower case, without the final dot (RFC 4343). */
function normalize(name: string): string {
  return name.toLowerCase().replace(/\.$/, "");
}
