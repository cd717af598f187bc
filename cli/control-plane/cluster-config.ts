import type { Clock } from "../../base/clock.ts";
import { isStillAllowed } from "../../discovery/config/kubernetes/authority.ts";
import { clusterOf, startKubernetesConfig } from "../../discovery/config/kubernetes/source.ts";
import type { KubernetesConfig } from "../../discovery/config/kubernetes/source.ts";
import type { GoodResource } from "../../discovery/config/merge.ts";
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

/**
 * Tells whether a cluster may still say what it said last: `resourceHosts` may
 * have become fewer since, or the cluster have another prefix.
 */
export function clusterAllowance({ registries, mesh }: Pick<ControlPlaneConfig, "registries" | "mesh">): (good: Pick<GoodResource, "resource" | "unit">) => boolean {
  const authorities = new Map(
    registries.flatMap((registry) =>
      registry.kind === "kubernetes" && registry.resources ? [[registry.name, { namespacePrefix: namespacePrefixOf(registry), meshDomain: mesh.domain, resourceHosts: registry.resourceHosts ?? [] }] as const] : [],
    ),
  );
  return ({ resource, unit }) => {
    if (resource.origin !== "kubernetes") return true;
    const authority = authorities.get(clusterOf(unit));
    return authority !== undefined && isStillAllowed(resource, authority);
  };
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
