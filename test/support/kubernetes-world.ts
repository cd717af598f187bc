import type { KubernetesRegistryOptions } from "../../discovery/registry/kubernetes/registry.ts";
import type { Registry } from "../../discovery/registry/registry.ts";
import { startCuttableRelay } from "./cuttable-relay.ts";
import type { KubernetesApi } from "./kubernetes-api.ts";
import { clusterObjects } from "./kubernetes-objects.ts";
import type { KubernetesObject } from "./kubernetes-objects.ts";
import type { RegistryWorld } from "./registry-conformance.ts";

/**
 * A registry and the API server that it reads, with nothing in its namespace.
 *
 * @param start starts a registry with options of the test's
 * @param port of the registry's way to the API server; its own where absent. A fresh one asks the API server itself.
 */
export async function openKubernetesWorld(api: KubernetesApi, start: (options: Partial<KubernetesRegistryOptions>) => Registry, port: number = api.port): Promise<RegistryWorld> {
  // The API server's own service is there from the beginning.
  const ours = { namespaces: ["default"], ignoredNamespaces: [] };
  const relay = await startCuttableRelay(port);
  const registry = start({ ...ours, kubeconfig: await api.kubeconfig("reader", relay.port) });
  const known = new Map<string, readonly KubernetesObject[]>();
  return {
    registry,
    async set(name, instances) {
      const next = clusterObjects(name, instances);
      const staying = new Set(next.map(({ kind, metadata }) => `${kind}/${metadata.name}`));
      const gone = (known.get(name) ?? []).filter(({ kind, metadata }) => !staying.has(`${kind}/${metadata.name}`));
      known.set(name, next);
      await api.apply(...next);
      await api.remove(...gone);
    },
    disconnect: async () => relay.cut(),
    reconnect: async () => relay.mend(),
    fresh: async () => start(ours),
    async close() {
      await registry.close();
      for (const objects of known.values()) await api.remove(...objects);
      await relay.close();
    },
  };
}
