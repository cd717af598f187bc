import type { Catalog } from "../../discovery/catalog/catalog.ts";
import { waitingByRegistry } from "../../discovery/catalog/intake.ts";
import type { Registry } from "../../discovery/registry/registry.ts";

/**
 * Says which registries keep the control plane from being ready: those whose
 * first content is not complete, or not in the catalog, into which thousands go
 * in turns. What takes turns later makes nobody less ready.
 */
export function followFirstContent(registries: readonly Pick<Registry, "name" | "status">[], catalog: Pick<Catalog, "waiting">): () => readonly string[] {
  const taken = new Set<string>();
  return () => {
    const waiting = waitingByRegistry(catalog.waiting());
    return registries.flatMap((registry) => {
      const { name } = registry;
      if (!registry.status().synced) return [`registry ${name} has not synced`];
      const left = taken.has(name) ? 0 : (waiting.get(name) ?? 0);
      if (left > 0) return [`registry ${name} has synced: ${left} of its services are on their way into the catalog`];
      taken.add(name);
      return [];
    });
  };
}
