import type { Change, Collection } from "../../../base/collection.ts";
import { SourceCollection } from "../../../base/collection.ts";
import type { AnyResource } from "../../../api/resource.ts";
import type { Workload } from "../../../model/workload.ts";
import type { Registry, RegistryService, WorkloadTemplate } from "../registry.ts";
import { buildServiceEntry } from "./service-entry.ts";
import { buildService } from "./service.ts";
import { STATIC_REGISTRY } from "./source.ts";
import { buildTemplate, buildWorkloadEntry } from "./workload-entry.ts";

/** What one configuration resource contributes. */
export interface StaticContent {
  readonly services: readonly (readonly [id: string, service: RegistryService])[];
  readonly workloads: readonly Workload[];
  readonly templates: readonly WorkloadTemplate[];
}

const nothing: StaticContent = { services: [], workloads: [], templates: [] };

/** Pure: the services, instances and groups that one resource describes; other kinds describe none. */
export function buildStaticContent(resource: AnyResource, meshDomain: string): StaticContent {
  const { namespace, name } = resource.metadata;
  switch (resource.kind) {
    case "Service":
      return { ...nothing, services: [[`Service/${namespace}/${name}`, buildService(resource, meshDomain)]] };
    case "ServiceEntry":
      return {
        ...nothing,
        services: buildServiceEntry(resource, meshDomain).map((service) => [`ServiceEntry/${namespace}/${name}/${service.hostname}`, service]),
      };
    case "WorkloadEntry": {
      const workload = buildWorkloadEntry(resource);
      return { ...nothing, workloads: workload === undefined ? [] : [workload] };
    }
    case "WorkloadGroup":
      return { ...nothing, templates: [buildTemplate(resource)] };
    default:
      return nothing;
  }
}

/** The registry of what users write as YAML: always complete, never stale. */
export function createStaticRegistry(options: {
  /** Accepted resources, by resource key. */
  readonly config: Collection<AnyResource>;
  readonly meshDomain: string;
}): Registry {
  const { config, meshDomain } = options;
  const services = new SourceCollection<RegistryService>();
  const workloads = new SourceCollection<Workload>();
  const templates = new SourceCollection<WorkloadTemplate>();
  let unsubscribe: (() => void) | undefined;

  function take(changes: readonly Change<AnyResource>[]): void {
    const contents = changes.map(({ before, after }) => [contentOf(before), contentOf(after)] as const);
    templates.apply(updatesOf(contents, (content) => content.templates.map((template) => [`${template.namespace}/${template.name}`, template])));
    workloads.apply(updatesOf(contents, (content) => content.workloads.map((workload) => [workload.key, workload])));
    services.apply(updatesOf(contents, (content) => content.services));
  }

  function contentOf(resource: AnyResource | undefined): StaticContent {
    return resource === undefined ? nothing : buildStaticContent(resource, meshDomain);
  }

  return {
    name: STATIC_REGISTRY,
    services,
    workloads,
    templates,
    start() {
      if (unsubscribe !== undefined) return;
      unsubscribe = config.subscribe(take);
      take([...config.entries()].map(([key, after]) => ({ key, after })));
    },
    status: () => ({
      name: STATIC_REGISTRY,
      kind: "static",
      synced: unsubscribe !== undefined,
      ageMs: 0,
      services: services.entries().size,
      workloads: workloads.entries().size,
      notes: [],
    }),
    close() {
      unsubscribe?.();
    },
  };
}

/** What the resources gave before and give no more is removed; what they give now is set. */
function updatesOf<T>(
  contents: readonly (readonly [before: StaticContent, after: StaticContent])[],
  entriesOf: (content: StaticContent) => readonly (readonly [string, T])[],
): Map<string, T | undefined> {
  const updates = new Map<string, T | undefined>();
  for (const [before] of contents) for (const [key] of entriesOf(before)) updates.set(key, undefined);
  for (const [, after] of contents) for (const [key, value] of entriesOf(after)) updates.set(key, value);
  return updates;
}
