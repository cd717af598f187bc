import { create } from "@bufbuild/protobuf";
import { type RouteSchema, VirtualHostSchema } from "../../proto/gen/envoy/config/route/v3/route_components_pb.js";
import { type RouteConfiguration, RouteConfigurationSchema } from "../../proto/gen/envoy/config/route/v3/route_pb.js";
import type { VirtualHostIr } from "../ir/route.ts";
import { ADS } from "./config-source.ts";
import { type Init, translated, type TranslatedResource } from "./resource.ts";
import { translateRoute } from "./route.ts";

/** What the static virtual host of a table answers with, so that a person can tell who said 404. */
export const REASON_HEADER = "x-ironmesh-reason";

/**
 * One virtual host of one table, as its own resource. The resource and the
 * virtual host must both be called `<table>/<name>`, without another slash:
 * else Envoy accepts it and never uses it, or cannot remove it again.
 */
export function translateVirtualHost({ table, name, domains, routes }: VirtualHostIr): TranslatedResource {
  const resourceName = virtualHostResourceName(table, name);
  return translated(
    VirtualHostSchema,
    resourceName,
    create(VirtualHostSchema, {
      name: resourceName,
      domains: domains.toSorted(),
      routes: routes.map(translateRoute),
    }),
  );
}

/** VHDS: `<table>/<virtual host>`. */
export function virtualHostResourceName(table: string, name: string): string {
  return `${table}/${name}`;
}

/**
 * The route table of one port number: a frame into which the virtual hosts are
 * pushed (VHDS), and an answer for the hosts that nobody owns.
 */
export function routeTable(table: string): RouteConfiguration {
  return create(RouteConfigurationSchema, {
    name: table,
    virtualHosts: [{ name: "unknown-host", domains: ["*"], routes: [unknownHostRoute()] }],
    vhds: { configSource: ADS },
    // One table is for one port: `Host: reviews:8080` is `reviews`.
    ignorePortInHostMatching: true,
  });
}

function unknownHostRoute(): Init<typeof RouteSchema> {
  return {
    name: "unknown-host",
    match: { pathSpecifier: { case: "prefix", value: "/" } },
    action: {
      case: "directResponse",
      value: { status: 404, body: { specifier: { case: "inlineString", value: "no service of the mesh has this host name on this port\n" } } },
    },
    responseHeadersToAdd: [{ header: { key: REASON_HEADER, value: "unknown-host" } }],
  };
}
