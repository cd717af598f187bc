import { create } from "@bufbuild/protobuf";
import { type RouteSchema, VirtualHostSchema } from "../../proto/gen/envoy/config/route/v3/route_components_pb.js";
import { type RouteConfiguration, RouteConfigurationSchema } from "../../proto/gen/envoy/config/route/v3/route_pb.js";
import { outsideTableName, routeTableName } from "../ir/names.ts";
import type { OutboundShapeIr } from "../ir/outbound.ts";
import type { VirtualHostIr } from "../ir/route.ts";
import { ADS } from "./config-source.ts";
import { duration } from "./duration.ts";
import { PASSTHROUGH_CLUSTER } from "./fixed-clusters.ts";
import { type Init, translated, type TranslatedResource } from "./resource.ts";
import { translateRoute } from "./route.ts";

type RouteInit = Init<typeof RouteSchema>;

/** What the static virtual host of a table answers with, so that a person can tell who said 404. */
export const REASON_HEADER = "x-ironmesh-reason";

/**
 * One virtual host of one table, as its own resource. The resource and the
 * virtual host must both be called `<table>/<name>`, without another slash:
 * else Envoy accepts it and never uses it, or cannot remove it again.
 */
export function translateVirtualHost({ port, reach, name, domains, routes }: VirtualHostIr): TranslatedResource {
  const resourceName = virtualHostResourceName(reach === "mesh" ? routeTableName(port) : outsideTableName(port), name);
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
 * The route table of virtual addresses on one port number: a frame into which
 * the virtual hosts are pushed (VHDS), and an answer for hosts that nobody owns.
 */
export function meshTable(port: number): RouteConfiguration {
  return routeTable(routeTableName(port), unknownHost(404, "no service of the mesh has this host name on this port"));
}

/** The same for all other addresses: a host that nobody declared goes where the caller dialed, if that is allowed. */
export function outsideTable(port: number, unknownDestinations: OutboundShapeIr["unknownDestinations"]): RouteConfiguration {
  const isAllowed = unknownDestinations === "allow";
  return routeTable(outsideTableName(port), isAllowed ? PASS_THROUGH : unknownHost(502, "nobody declared this host name on this port"));
}

function routeTable(name: string, otherwise: RouteInit): RouteConfiguration {
  return create(RouteConfigurationSchema, {
    name,
    virtualHosts: [{ name: "unknown-host", domains: ["*"], routes: [{ ...otherwise, name: "unknown-host", match: ANY_PATH }] }],
    vhds: { configSource: ADS },
    // One table is for one port: `Host: reviews:8080` is `reviews`.
    ignorePortInHostMatching: true,
  });
}

const ANY_PATH: RouteInit["match"] = { pathSpecifier: { case: "prefix", value: "/" } };

const PASS_THROUGH: RouteInit = {
  action: { case: "route", value: { clusterSpecifier: { case: "cluster", value: PASSTHROUGH_CLUSTER }, timeout: duration(0) } },
};

function unknownHost(status: number, reason: string): RouteInit {
  return {
    action: { case: "directResponse", value: { status, body: { specifier: { case: "inlineString", value: `${reason}\n` } } } },
    responseHeadersToAdd: [{ header: { key: REASON_HEADER, value: "unknown-host" } }],
  };
}
