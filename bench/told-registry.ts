import { SourceCollection } from "../base/collection.ts";
import type { Registry, RegistryService } from "../discovery/registry/registry.ts";

/** A registry that says what the benchmark tells it. */
export interface Told {
  /** @param onSynced called when it has been told the first time */
  listen(onSynced: () => void): Registry;
  tell(services: ReadonlyMap<string, RegistryService>): void;
}

export function toldRegistry(): Told {
  const services = new SourceCollection<RegistryService>();
  let told: () => void = () => {};
  return {
    listen(onSynced) {
      told = onSynced;
      return {
        name: "told",
        services,
        workloads: new SourceCollection(),
        templates: new SourceCollection(),
        start() {},
        status: () => ({ name: "told", kind: "consul", synced: services.entries().size > 0, ageMs: 0, services: services.entries().size, workloads: 0, notes: [] }),
        close() {},
      };
    },
    tell(content) {
      services.replaceAll(content);
      told();
    },
  };
}
