import type { Clock } from "../../base/clock.ts";
import { startKubernetesConfig } from "../../discovery/config/kubernetes/source.ts";
import type { KubernetesConfig } from "../../discovery/config/kubernetes/source.ts";
import { namespacePrefixOf } from "../../discovery/kubernetes/namespaces.ts";
import type { Registry } from "../../discovery/registry/registry.ts";
import type { RootNamespace } from "../../model/root-namespace.ts";
import type { ControlPlaneConfig } from "./config.ts";

/** Begins to read the clusters whose resources are configuration; by the names of their registries. */
export function startClusterConfigs({ registries, mesh }: Pick<ControlPlaneConfig, "registries" | "mesh">, clock: Clock): ReadonlyMap<string, KubernetesConfig> {
  const clusters = new Map<string, KubernetesConfig>();
  for (const registry of registries) {
    if (registry.kind !== "kubernetes" || !registry.resources) continue;
    clusters.set(registry.name, startKubernetesConfig({ ...registry, meshDomain: mesh.domain, trustDomain: mesh.trustDomain, clock }));
  }
  return clusters;
}

/** Where those clusters keep the policies that hold in all of their namespaces. */
export function clusterRoots({ registries }: Pick<ControlPlaneConfig, "registries">): RootNamespace[] {
  return registries.flatMap((registry) => {
    if (registry.kind !== "kubernetes" || !registry.resources) return [];
    const prefix = namespacePrefixOf(registry);
    return [{ namespace: `${prefix}${registry.istioRootNamespace}`, prefix }];
  });
}

/** A cluster's registry whose status says what is to be known of its resources too. */
export function withClusterNotes(registry: Registry, clusters: ReadonlyMap<string, KubernetesConfig>): Registry {
  const cluster = clusters.get(registry.name);
  if (cluster === undefined) return registry;
  return {
    ...registry,
    status() {
      const status = registry.status();
      return { ...status, notes: [...status.notes, ...cluster.notes()].sort() };
    },
  };
}
