import { RouteConfigurationSchema, type RouteConfiguration } from "../../proto/gen/envoy/config/route/v3/route_pb.js";
import { createResource, type Resource, routeConfigurationOf } from "../../xds/resource.ts";
import { createResourceSet, type ResourceView, unionOf } from "../../xds/resource-set.ts";
import { TYPE_URLS } from "../../xds/type-urls.ts";
import { translateProxy } from "../translate/proxy.ts";
import { encodeResource, type TranslatedResource } from "../translate/resource.ts";
import { wholeRouteTable } from "../translate/whole-route-table.ts";
import type { Push } from "./push.ts";

/** Which workload, as its host calls it. */
export interface ForeignWorkload {
  readonly hostId: string;
  readonly name: string;
}

/** What is one host's own of these types becomes one workload's own. */
const OWN_TYPES = [TYPE_URLS.listener, TYPE_URLS.routeConfiguration, TYPE_URLS.cluster, TYPE_URLS.secret] as const;

/**
 * The mesh as one workload's proxy sees it, for an xDS client without our agent:
 * the listeners of this workload alone, whole route tables in place of pushed
 * virtual hosts, and the clusters, endpoints and validation secrets that all share.
 *
 * It is for looking. The TLS contexts are those in force, and so name
 * certificates that only the workload's own agent has: whoever runs a proxy by
 * this view takes no mutual TLS connection and makes none, instead of serving in
 * plaintext what must not be.
 *
 * It follows the push for as long as it is open, and costs nothing while it is not.
 */
export function openForeignView(
  push: Pick<Push, "shared" | "setOf" | "proxyIr">,
  { hostId, name }: ForeignWorkload,
): { readonly view: ResourceView; close(): void } {
  const { shared } = push;
  const own = createResourceSet();
  let frames: ReadonlyMap<string, RouteConfiguration> = new Map();

  const wholeTable = (frame: RouteConfiguration): Resource => {
    const hosts = [...shared.virtualHostsOf(frame.name)].sort().flatMap((host) => shared.get(TYPE_URLS.virtualHost, host)?.bytes ?? []);
    return createResource(TYPE_URLS.routeConfiguration, frame.name, wholeRouteTable(frame, hosts));
  };
  const refresh = (): void => {
    const proxy = push.proxyIr(hostId);
    const translated = proxy === undefined ? [] : translateProxy({ ...proxy, workloads: proxy.workloads.filter((workload) => workload.name === name) });
    frames = new Map(translated.flatMap(frameOf).map((frame) => [frame.name, frame]));
    const resources = translated.map((resource) => {
      const frame = resource.typeUrl === TYPE_URLS.routeConfiguration ? frames.get(resource.name) : undefined;
      if (frame !== undefined) return wholeTable(frame);
      const { typeUrl, name: resourceName, bytes, version } = encodeResource(resource);
      return createResource(typeUrl, resourceName, bytes, version);
    });
    own.update((transaction) => {
      for (const type of OWN_TYPES) transaction.replaceAll(type, resources.filter(({ typeUrl }) => typeUrl === type));
    });
  };
  refresh();
  const stops = [
    push.setOf(hostId).watch(refresh),
    shared.watch((changes) => {
      const tables = new Set([...(changes.get(TYPE_URLS.virtualHost) ?? [])].map(routeConfigurationOf));
      const changed = [...tables].flatMap((table) => frames.get(table) ?? []);
      if (changed.length > 0) own.update((transaction) => changed.forEach((frame) => transaction.upsert(wholeTable(frame))));
    }),
  ];
  return {
    view: unionOf([own, shared]),
    close() {
      for (const stop of stops) stop();
    },
  };
}

/** A route table whose virtual hosts travel by themselves. */
function frameOf({ schema, message }: TranslatedResource): RouteConfiguration[] {
  if (schema !== RouteConfigurationSchema) return [];
  const table = message as RouteConfiguration;
  return table.vhds === undefined ? [] : [table];
}
