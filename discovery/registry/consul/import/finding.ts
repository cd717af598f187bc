import { resourceName, type WrittenResource } from "./resource.ts";

/**
 * Something that a person has to know about the import of one config entry:
 * `lost`: what Consul does is not done; `differs`: it is done in another way;
 * `todo`: it depends on something that no resource can say.
 */
export interface ImportFinding {
  readonly effect: "lost" | "differs" | "todo";
  /** As `entryName` gives it. */
  readonly entry: string;
  /** The field as Consul writes it: `Routes[0].Destination.IdleTimeout`; empty for the whole entry. */
  readonly path: string;
  /** Lower case, no final period; it may quote the entry. */
  readonly message: string;
  readonly remedy: string;
  /** The resource that it is about, whether there is one or not; absent: the entry's own. */
  readonly about?: { readonly kind: WrittenResource["kind"]; readonly name: string };
}

export type ReportFinding = (finding: ImportFinding) => void;

/** Reports what concerns the resource that a service has, or would have. */
export function reportAbout(kind: WrittenResource["kind"], service: string, report: ReportFinding): ReportFinding {
  return (finding) => report({ ...finding, about: { kind, name: resourceName(service) } });
}

/** How an entry is called in findings and comments: `service-router web`. */
export function entryName(kind: string, name: string): string {
  return `${kind} ${name}`;
}
