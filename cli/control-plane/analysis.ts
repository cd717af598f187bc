import type { AnyResource } from "../../api/resource.ts";
import { type Change, type Collection, presentIn } from "../../base/collection.ts";
import type { Clock } from "../../base/clock.ts";
import { createSlicedWork } from "../../base/sliced-work.ts";
import type { Closable } from "../../base/task-group.ts";
import type { MeshConfig } from "../../api/mesh-config.ts";
import type { RootNamespace } from "../../model/root-namespace.ts";
import type { Service, ServiceKey } from "../../model/service.ts";
import type { Source } from "../../model/source.ts";
import type { Workload } from "../../model/workload.ts";
import { analysis, type Findings } from "../../discovery/config/analyze.ts";
import type { Config } from "../../discovery/config/config.ts";
import { LabelCensus } from "../../discovery/config/label-census.ts";
import { sourceOf } from "../../discovery/registry/static/source.ts";

/** Findings are for people: they may come a moment after the change, and the later the more there is to look at. */
const QUIET_MS = 250;
const QUIET_MS_PER_RESOURCE = 0.1;

/** What the analysis knows of the mesh besides its configuration. */
export interface AnalyzedCatalog {
  readonly services: Collection<Service>;
  readonly workloads: Collection<Workload>;
  readonly names: { find(host: string): ServiceKey | undefined; ownerOf(host: string): ServiceKey | undefined };
  sourcesOf(key: ServiceKey): readonly Source[];
}

/** Keeps what all resources together show, and the catalog behind them, in the resources' statuses. They are there when it returns. */
export function followAnalysis(config: Pick<Config, "resources" | "setFindings">, catalog: AnalyzedCatalog, mesh: Pick<MeshConfig, "domain">, roots: readonly RootNamespace[], clock: Clock): Closable {
  const census = new LabelCensus();
  census.apply(presentIn(catalog.workloads));
  let findings: Findings = new Map();
  let isStale = false;
  let cancel: (() => void) | undefined;
  const work = createSlicedWork(
    clock,
    function* () {
      isStale = false;
      findings = yield* analysis([...config.resources.entries().values()], {
        meshDomain: mesh.domain,
        roots,
        service: (host) => catalog.services.get(catalog.names.find(host) ?? ""),
        otherOwner: (resource, host) => otherOwner(catalog, resource, host),
        workloads: census,
      });
    },
    () => {
      config.setFindings(findings);
      // What changed meanwhile may have been looked at before it did.
      if (isStale) later();
    },
  );
  const later = (): void => {
    isStale = true;
    if (work.isRunning()) return;
    cancel ??= clock.after(Math.max(QUIET_MS, QUIET_MS_PER_RESOURCE * config.resources.entries().size), () => {
      cancel = undefined;
      work.run();
    });
  };
  const stops = [
    config.resources.subscribe(later),
    catalog.services.subscribe((changes) => {
      if (changes.some(isSeen)) later();
    }),
    catalog.workloads.subscribe((changes) => {
      if (census.apply(changes)) later();
    }),
  ];
  work.finish();
  return {
    close() {
      cancel?.();
      work.close();
      for (const stop of stops) stop();
    },
  };
}

/** False for what the analysis does not look at, such as a note or an address. */
function isSeen({ before, after }: Change<Service>): boolean {
  const seen = (service: Service | undefined): string => JSON.stringify([service?.hostname, service?.aliases, service?.namespace, service?.ports, service?.external, service?.source]);
  return seen(before) !== seen(after);
}

function otherOwner(catalog: AnalyzedCatalog, resource: AnyResource, host: string): ServiceKey | undefined {
  const owner = catalog.names.ownerOf(host);
  if (owner === undefined) return undefined;
  const own = sourceOf(resource);
  return catalog.sourcesOf(owner).some(({ registry, object }) => registry === own.registry && object === own.object) ? undefined : owner;
}
