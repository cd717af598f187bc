import type { ResourceOf } from "../../../api/resource.ts";
import { parseLocality } from "../../../model/workload.ts";
import type { Workload } from "../../../model/workload.ts";
import type { WorkloadTemplate } from "../registry.ts";
import { sourceOf, STATIC_REGISTRY } from "./source.ts";

/**
 * A WorkloadEntry is an instance that somebody wrote down. Nothing proves that
 * a proxy of ours runs there, so it is never meshed: a host that enrols is.
 */
export function buildWorkloadEntry(resource: ResourceOf<"WorkloadEntry">): Workload | undefined {
  const { metadata, spec } = resource;
  if (spec.address === undefined || spec.address === "") return undefined;
  return {
    key: `${STATIC_REGISTRY}/WorkloadEntry/${metadata.namespace}/${metadata.name}`,
    namespace: metadata.namespace,
    name: metadata.name,
    addresses: [spec.address],
    ports: spec.ports ?? {},
    labels: { ...metadata.labels, ...spec.labels },
    serviceAccount: spec.serviceAccount ?? "",
    locality: parseLocality(spec.locality),
    network: spec.network ?? "",
    weight: Math.max(1, spec.weight ?? 1),
    health: "healthy",
    meshed: false,
    source: sourceOf(resource),
  };
}

/** A WorkloadGroup is what each of its instances is. */
export function buildTemplate(resource: ResourceOf<"WorkloadGroup">): WorkloadTemplate {
  const { metadata, spec } = resource;
  const { template } = spec;
  return {
    namespace: metadata.namespace,
    name: metadata.name,
    labels: { ...template.labels, ...spec.metadata?.labels },
    ports: template.ports ?? {},
    serviceAccount: template.serviceAccount === undefined || template.serviceAccount === "" ? "default" : template.serviceAccount,
    locality: template.locality ?? "",
    network: template.network ?? "",
    weight: Math.max(1, template.weight ?? 1),
  };
}
