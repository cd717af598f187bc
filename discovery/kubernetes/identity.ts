import type { KubernetesClient, KubernetesKind } from "./client.ts";
import { readMetadata } from "./object.ts";

/** The cluster's own service: the API server makes it when it has no data yet, and who may list services sees it. */
const CLUSTER: KubernetesKind = { path: "/api/v1/namespaces/default/services", fieldSelector: "metadata.name=kubernetes" };

/** What tells a cluster's data from other data behind the same address; empty while it has none. */
export async function identifyCluster(client: KubernetesClient, signal: AbortSignal): Promise<string> {
  const page = await client.list({ kind: CLUSTER, limit: 1, continueToken: "", signal });
  const [own] = page?.items ?? [];
  return own === undefined ? "" : readMetadata(own).uid;
}
