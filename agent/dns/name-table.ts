import { familyOf } from "../../model/address.ts";

/** What the mesh knows about one name. */
export interface NameEntry {
  readonly v4: readonly string[];
  readonly v6: readonly string[];
}

export type NameAnswer =
  /** One of ours; `canonical` differs from what was asked where a search domain had been appended to it. */
  | { readonly kind: "found"; readonly canonical: string; readonly entry: NameEntry }
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
  readonly entries: ReadonlyMap<string, NameEntry>;
}

export const EMPTY_NAME_TABLE: NameTable = { ownDomains: [], isLoaded: false, entries: new Map() };

/** @param records names with their addresses; anything that is no IP address is left out */
export function buildNameTable(records: Iterable<{ readonly name: string; readonly addresses: readonly string[] }>, ownDomains: readonly string[]): NameTable {
  const entries = new Map<string, NameEntry>();
  for (const { name, addresses } of records) {
    entries.set(normalize(name), {
      v4: addresses.filter((address) => familyOf(address) === "ipv4"),
      v6: addresses.filter((address) => familyOf(address) === "ipv6"),
    });
  }
  return { ownDomains: ownDomains.map(normalize), isLoaded: true, entries };
}

/**
 * Looks a name up as it is, and then without each search domain of the host: a
 * resolver that tries `reviews.shop.svc.mesh.internal.corp.example` first is
 * answered at once, and the name does not leave the host.
 */
export function lookUpName(table: NameTable, name: string, searchDomains: readonly string[]): NameAnswer {
  const asked = normalize(name);
  const entry = table.entries.get(asked);
  if (entry !== undefined) return { kind: "found", canonical: asked, entry };
  for (const domain of searchDomains) {
    const suffix = `.${normalize(domain)}`;
    if (suffix === "." || !asked.endsWith(suffix)) continue;
    const canonical = asked.slice(0, -suffix.length);
    const stripped = table.entries.get(canonical);
    // A one-label name plus the search domain is the local domain's own name: only full names are ours.
    if (stripped !== undefined && canonical.includes(".")) return { kind: "found", canonical, entry: stripped };
  }
  if (!table.ownDomains.some((domain) => asked === domain || asked.endsWith(`.${domain}`))) return { kind: "foreign" };
  return { kind: table.isLoaded ? "absent" : "unknown-yet" };
}

/** Lower case, without the final dot (RFC 4343). */
function normalize(name: string): string {
  return name.toLowerCase().replace(/\.$/, "");
}
