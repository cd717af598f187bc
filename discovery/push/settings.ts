import type { MeshConfig } from "../../api/mesh-config.ts";
import type { RootNamespace } from "../../model/root-namespace.ts";
import type { PushSettings } from "./inputs.ts";

/** How long changes gather before they are translated together. */
const BATCH_MS = 10;

/**
 * The settings of the mesh as the push engine takes them.
 *
 * @param clusters root namespaces of clusters whose resources are configuration
 */
export function pushSettings(mesh: MeshConfig, clusters: readonly RootNamespace[] = []): PushSettings {
  return {
    meshDomain: mesh.domain,
    trustDomain: mesh.trustDomain,
    roots: [...clusters, { namespace: mesh.rootNamespace, prefix: "" }],
    defaultMtls: mesh.mtls,
    vipRanges: mesh.vipRanges,
    unknownDestinations: mesh.outboundTrafficPolicy === "ALLOW_ANY" ? "allow" : "deny",
    batchMs: BATCH_MS,
  };
}
