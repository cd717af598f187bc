import { RouterSchema } from "../../../proto/gen/envoy/extensions/filters/http/router/v3/router_pb.js";
import { pack } from "../resource.ts";
import type { HttpFilterTranslation } from "./http-filter.ts";

/** Forwards the request; always the last filter. */
export const ROUTER: HttpFilterTranslation = {
  name: "envoy.filters.http.router",
  outbound: () => pack(RouterSchema, {}),
  inbound: () => pack(RouterSchema, {}),
};
