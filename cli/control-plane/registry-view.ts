import type { RegistryView } from "../../discovery/http/api.ts";
import type { Catalog } from "../../discovery/catalog/catalog.ts";
import { waitingByRegistry } from "../../discovery/catalog/intake.ts";
import type { Registry } from "../../discovery/registry/registry.ts";

/** A registry's state as people see it, and how much of it the catalog does not show yet. */
export function viewRegistry(registry: Registry, catalog: Pick<Catalog, "waiting">): RegistryView {
  const { name, kind, synced, services, workloads, ageMs, lastError, notes } = registry.status();
  const waiting = waitingByRegistry(catalog.waiting()).get(name) ?? 0;
  return {
    name,
    kind,
    synced,
    services,
    workloads,
    ...(ageMs === undefined ? {} : { ageSeconds: ageMs / 1_000 }),
    error: lastError?.message ?? "",
    hint: lastError?.hint ?? "",
    failingSince: lastError === undefined ? "" : new Date(lastError.since).toISOString(),
    notes: waiting === 0 ? notes : [...notes, `what it tells of ${waiting} services is on its way into the catalog`],
  };
}
