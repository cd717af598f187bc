import type { ParsedDocument } from "../../api/document.ts";
import type { Collection } from "../../base/collection.ts";
import type { Issue } from "../../base/issue.ts";
import type { Closable } from "../../base/task-group.ts";

/** Where configuration comes from, in the order of precedence. */
export const CONFIG_ORIGINS = ["files", "store"] as const;
export type ConfigOrigin = (typeof CONFIG_ORIGINS)[number];

/** What stands and falls together in a source: one file, or one stored resource. */
export interface ConfigUnit {
  readonly origin: ConfigOrigin;
  /** Unique in its origin: a path within the directory, or a resource key; empty for the source as a whole, which can only have a problem. */
  readonly name: string;
  readonly documents: readonly ParsedDocument[];
  /** Why it could not be read; what it said before stays in force. */
  readonly problem?: Issue;
}

/** A live source. Its content is complete from the moment that it is handed out. */
export interface ConfigSource extends Closable {
  readonly origin: ConfigOrigin;
  readonly units: Collection<ConfigUnit>;
}

/** Unique among all sources: `files:shop/reviews.yaml`. */
export function unitId(unit: Pick<ConfigUnit, "origin" | "name">): string {
  return `${unit.origin}:${unit.name}`;
}
