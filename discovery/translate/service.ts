import type { OutboundServiceIr } from "../ir/outbound.ts";
import { translateCluster } from "./cluster.ts";
import { sortResources, type TranslatedResource } from "./resource.ts";
import { translateValidation } from "./validation.ts";
import { translateVirtualHost } from "./virtual-host.ts";

/**
 * All resources that one service gives to every proxy that sees it: clusters,
 * virtual hosts, and the secret that says who may answer for it. Endpoints
 * travel on their own (`translateEndpoints`), TCP routes are filter chains of
 * the listeners (`translateProxy`).
 */
export function translateService(ir: OutboundServiceIr): TranslatedResource[] {
  return sortResources([
    ...ir.clusters.map(translateCluster),
    ...ir.virtualHosts.map(translateVirtualHost),
    ...(ir.validation === undefined ? [] : [translateValidation(ir.validation)]),
  ]);
}
