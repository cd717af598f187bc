import type { Any } from "@bufbuild/protobuf/wkt";
import type { HttpFilterSchema } from "../../../proto/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js";
import type { InboundPortIr } from "../../ir/proxy.ts";
import type { RouteIr } from "../../ir/route.ts";
import type { Init } from "../resource.ts";

export type HttpFilterInit = Init<typeof HttpFilterSchema>;

/**
 * One HTTP filter and all that it can say. A side that it has no function for
 * does not have the filter.
 */
export interface HttpFilterTranslation {
  /** The filter's name in the chain, and the key of its settings on a route. */
  readonly name: string;
  /** The filter in the chain of an outbound listener; its settings come with the routes. */
  readonly outbound?: () => Any;
  /** The filter in the chain of every inbound HTTP port; its settings come with the route. */
  readonly inbound?: () => Any;
  /** Settings on one route of a virtual host. */
  readonly outboundRoute?: (route: RouteIr) => Any | undefined;
  /** Settings on the one route of an inbound port. */
  readonly inboundRoute?: (port: InboundPortIr) => Any;
}
