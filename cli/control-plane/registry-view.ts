import type { RegistryView } from "../../discovery/http/api.ts";
import type { Registry } from "../../discovery/registry/registry.ts";

/** A registry's state as people see it. */
export function viewRegistry(registry: Registry): RegistryView {
  const { name, kind, synced, services, workloads, ageMs, lastError, notes } = registry.status();
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
    notes,
  };
}
