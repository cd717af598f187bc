import type { MeshConfig } from "../../api/mesh-config.ts";
import type { PushSettings } from "./inputs.ts";

/** How long changes gather before they are translated together. */
const BATCH_MS = 10;

/** The settings of the mesh as the push engine takes them. */
export function pushSettings(mesh: MeshConfig): PushSettings {
  return {
    meshDomain: mesh.domain,
    trustDomain: mesh.trustDomain,
    rootNamespace: mesh.rootNamespace,
    defaultMtls: mesh.mtls,
    vipRanges: mesh.vipRanges,
    unknownDestinations: mesh.outboundTrafficPolicy === "ALLOW_ANY" ? "allow" : "deny",
    batchMs: BATCH_MS,
  };
}
