import type { ParsedDocument } from "../../api/document.ts";
import type { Collection } from "../../base/collection.ts";
import type { Issue } from "../../base/issue.ts";
import type { Closable } from "../../base/task-group.ts";

/** Where configuration comes from, in the order of precedence. */
export const CONFIG_ORIGINS = ["files", "store", "kubernetes"] as const;
export type ConfigOrigin = (typeof CONFIG_ORIGINS)[number];

/** What stands and falls together in a source: one file, or one resource of the store or a cluster. */
export interface ConfigUnit {
  readonly origin: ConfigOrigin;
  /**
   * Unique in its origin: a path within the directory, a resource key, or one
   * behind the cluster's name. Empty, or with a slash at its end, it stands for
   * all units that begin with it, and can only have a problem.
   */
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

/** True for what stands for a source, or a part of it. */
export function isWholeSource({ name }: Pick<ConfigUnit, "name">): boolean {
  return name === "" || name.endsWith("/");
}

/** Unique among all sources: `files:shop/reviews.yaml`. */
export function unitId(unit: Pick<ConfigUnit, "origin" | "name">): string {
  return `${unit.origin}:${unit.name}`;
}
