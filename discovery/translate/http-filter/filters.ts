import { CORS } from "./cors.ts";
import { FAULT } from "./fault.ts";
import type { HttpFilterInit, HttpFilterTranslation } from "./http-filter.ts";
import { RBAC_ALLOW, RBAC_DENY } from "./rbac.ts";
import { ROUTER } from "./router.ts";

/**
 * The HTTP filters in the order in which a request passes them: the position is
 * the order. Who may not call is refused before anything else is done for him;
 * a preflight is answered before a fault is injected; the router ends the chain.
 */
export const HTTP_FILTERS: readonly HttpFilterTranslation[] = [RBAC_DENY, RBAC_ALLOW, CORS, FAULT, ROUTER] as const;

export function outboundFilters(): HttpFilterInit[] {
  return HTTP_FILTERS.flatMap(({ name, outbound }) => (outbound === undefined ? [] : [filter(name, outbound())]));
}

export function inboundFilters(): HttpFilterInit[] {
  return HTTP_FILTERS.flatMap(({ name, inbound }) => (inbound === undefined ? [] : [filter(name, inbound())]));
}

function filter(name: string, value: ReturnType<NonNullable<HttpFilterTranslation["outbound"]>>): HttpFilterInit {
  return { name, configType: { case: "typedConfig", value } };
}
