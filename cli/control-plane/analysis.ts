import { systemClock } from "../../base/clock.ts";
import type { Closable } from "../../base/task-group.ts";
import type { MeshConfig } from "../../api/mesh-config.ts";
import type { RootNamespace } from "../../model/root-namespace.ts";
import type { Catalog } from "../../discovery/catalog/catalog.ts";
import { analyze } from "../../discovery/config/analyze.ts";
import type { Config } from "../../discovery/config/config.ts";

/** Findings are for people: they may come a moment after the change. */
const QUIET_MS = 250;

/** Keeps what all resources together show, and the catalog behind them, in the resources' statuses. */
export function followAnalysis(config: Config, catalog: Catalog, mesh: Pick<MeshConfig, "domain">, roots: readonly RootNamespace[]): Closable {
  let cancel: (() => void) | undefined;
  const run = (): void => {
    cancel = undefined;
    config.setFindings(
      analyze([...config.resources.entries().values()], {
        meshDomain: mesh.domain,
        roots,
        service: (host) => catalog.services.get(catalog.names.find(host) ?? ""),
        workloads: [...catalog.workloads.entries().values()],
      }),
    );
  };
  const later = (): void => {
    cancel ??= systemClock.after(QUIET_MS, run);
  };
  const stops = [config.resources.subscribe(later), catalog.services.subscribe(later), catalog.workloads.subscribe(later)];
  run();
  return {
    close() {
      cancel?.();
      for (const stop of stops) stop();
    },
  };
}
