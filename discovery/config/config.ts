import type { AnyResource, ResourceKey } from "../../api/resource.ts";
import { type Clock, systemClock } from "../../base/clock.ts";
import { type Collection, SourceCollection } from "../../base/collection.ts";
import type { Issue } from "../../base/issue.ts";
import type { Closable } from "../../base/task-group.ts";
import { type ConfigStatus, withFindings } from "../status/config-status.ts";
import type { LastGood } from "./last-good.ts";
import { type GoodResource, mergeConfig, type MergedConfig, resourcesOf } from "./merge.ts";
import type { ConfigSource } from "./unit.ts";

export interface ConfigOptions {
  /** Owned by the caller, closed after this. */
  readonly sources: readonly ConfigSource[];
  readonly lastGood: LastGood;
  readonly clock?: Clock;
}

/** What people told the mesh, joined from all sources. */
export interface Config extends Closable {
  /** In force, by resource key. */
  readonly resources: Collection<AnyResource>;
  /** Of everything that is written, in force or not. */
  readonly statuses: Collection<ConfigStatus>;
  /** Takes what the analysis of all resources together found, and shows it in the statuses. */
  setFindings(findings: ReadonlyMap<ResourceKey, readonly Issue[]>): void;
}

/**
 * Joins the sources and keeps them joined. Its content is complete when it is
 * handed out.
 *
 * @throws CodedError of the store where the last good configuration cannot be read
 */
export async function startConfig(options: ConfigOptions): Promise<Config> {
  const { sources, lastGood, clock = systemClock } = options;
  const resources = new SourceCollection<AnyResource>();
  const statuses = new SourceCollection<ConfigStatus>();
  let inForce: ReadonlyMap<ResourceKey, GoodResource> = await lastGood.load();
  let merged: MergedConfig = { inForce, statuses: new Map() };
  let findings: ReadonlyMap<ResourceKey, readonly Issue[]> = new Map();

  const merge = (): void => {
    const units = sources.flatMap((source) => [...source.units.entries().values()]);
    merged = mergeConfig(units, inForce, clock.now());
    lastGood.note(differences(inForce, merged.inForce));
    inForce = merged.inForce;
    resources.replaceAll(resourcesOf(inForce));
    statuses.replaceAll(withFindings(merged.statuses, findings));
  };
  merge();
  const endings = sources.map((source) => source.units.subscribe(merge));
  return {
    resources,
    statuses,
    setFindings(next) {
      findings = next;
      statuses.replaceAll(withFindings(merged.statuses, findings));
    },
    close() {
      for (const end of endings) end();
    },
  };
}

function differences(
  before: ReadonlyMap<ResourceKey, GoodResource>,
  after: ReadonlyMap<ResourceKey, GoodResource>,
): Map<ResourceKey, GoodResource | undefined> {
  const changes = new Map<ResourceKey, GoodResource | undefined>();
  for (const key of before.keys()) if (!after.has(key)) changes.set(key, undefined);
  for (const [key, good] of after) if (before.get(key) !== good) changes.set(key, good);
  return changes;
}

