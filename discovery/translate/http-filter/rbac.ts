import { RBAC_Action as Action } from "../../../proto/gen/envoy/config/rbac/v3/rbac_pb.js";
import { RBACPerRouteSchema, RBACSchema } from "../../../proto/gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.js";
import { allowRules, denyRules } from "../rbac.ts";
import { pack } from "../resource.ts";
import type { HttpFilterTranslation } from "./http-filter.ts";

/*
 * The policies are settings of the port's route, which travels by RDS. A change
 * therefore holds for the next request on every open connection; in the filter
 * chain it would reach only connections opened after it.
 */

/** Refuses what any DENY policy matches. */
export const RBAC_DENY: HttpFilterTranslation = {
  name: "envoy.filters.http.rbac.deny",
  inbound: () => pack(RBACSchema, {}),
  inboundRoute: ({ authorization }) => {
    const rules = denyRules(authorization, "http");
    return pack(RBACPerRouteSchema, rules === undefined ? {} : { rbac: { rules } });
  },
};

/**
 * Refuses what no ALLOW policy matches, where there is any. In the chain it
 * refuses everything: only a route opens it, so that a request without a route
 * (CONNECT) gets nowhere.
 */
export const RBAC_ALLOW: HttpFilterTranslation = {
  name: "envoy.filters.http.rbac.allow",
  inbound: () => pack(RBACSchema, { rules: { action: Action.ALLOW } }),
  inboundRoute: ({ authorization }) => {
    const rules = allowRules(authorization, "http");
    return pack(RBACPerRouteSchema, rules === undefined ? {} : { rbac: { rules } });
  },
};
