import { systemClock } from "../base/clock.ts";
import { SourceCollection } from "../base/collection.ts";
import type { MeshConfig } from "../api/mesh-config.ts";
import { type AnyResource, resourceKey } from "../api/resource.ts";
import { createCatalog } from "../discovery/catalog/catalog.ts";
import { VipAllocator } from "../discovery/catalog/vip.ts";
import { followProxyHosts } from "../discovery/proxy-hosts.ts";
import { startPush } from "../discovery/push/push.ts";
import { pushSettings } from "../discovery/push/settings.ts";
import { createAgentsRegistry, LIVENESS_DEFAULTS } from "../discovery/registry/agents/registry.ts";
import { createStaticRegistry } from "../discovery/registry/static/registry.ts";
import { toEnvoyJson } from "../proto/json.ts";
import { createMemoryStore } from "../store/memory.ts";
import { TYPE_URLS } from "../xds/type-urls.ts";

/** The host that exists only for the translation. */
const HOST_ID = "offline";
/** An address for documentation (RFC 5737): nobody has it. */
const HOST_ADDRESS = "192.0.2.1";
const FIRST_OUTBOUND_PORT = 15_101;

const SHOWN_TYPES = [
  TYPE_URLS.listener,
  TYPE_URLS.routeConfiguration,
  TYPE_URLS.virtualHost,
  TYPE_URLS.cluster,
  TYPE_URLS.clusterLoadAssignment,
  TYPE_URLS.secret,
];

/** What one host would be told: the IR, and Envoy's resources by type, sorted by name. */
export interface Translated {
  readonly ir: unknown;
  readonly resources: Readonly<Record<string, unknown[]>>;
}

/** Runs the pipeline of the control plane once, over resources alone and a host that runs `groups`. */
export async function translateOffline(resources: readonly AnyResource[], groups: readonly string[], mesh: MeshConfig): Promise<Translated> {
  const store = createMemoryStore();
  const config = new SourceCollection<AnyResource>();
  config.apply(resources.map((resource) => [resourceKey(resource), resource]));
  const statics = createStaticRegistry({ config, meshDomain: mesh.domain });
  const anything = { allowsGroup: () => true, allowsAddress: () => true };
  const hosts = createAgentsRegistry({ templates: statics.templates, grants: anything, store, clock: systemClock, liveness: LIVENESS_DEFAULTS });
  await hosts.load();
  const vips = await VipAllocator.load({ store, ranges: mesh.vipRanges, now: () => 0 });
  const catalog = createCatalog({
    registries: [statics, hosts],
    meshDomain: mesh.domain,
    trustDomain: mesh.trustDomain,
    vips,
    onVipFailure(failure) {
      throw failure;
    },
  });
  statics.start();
  hosts.start();
  hosts.report(HOST_ID, offlineReport(groups));
  await catalog.settled();
  const proxies = followProxyHosts({ hosts: hosts.hosts, templates: statics.templates, config, trustDomain: mesh.trustDomain });
  const trustBundles = new SourceCollection<string>();
  trustBundles.apply([[mesh.trustDomain, "(the mesh's roots)"]]);
  const push = startPush({
    services: catalog.services,
    awaitingAddress: catalog.awaitingAddress,
    endpoints: catalog.endpoints,
    workloads: catalog.workloads,
    names: catalog.names,
    config,
    hosts: proxies.proxies,
    trustBundles,
    settings: pushSettings(mesh),
    clock: systemClock,
  });
  const shown = SHOWN_TYPES.map((typeUrl) => {
    const list = [push.setOf(HOST_ID), push.shared].flatMap((set) => [...set.list(typeUrl)]);
    const sorted = list.toSorted((left, right) => (left.name < right.name ? -1 : 1));
    return [typeUrl.slice(typeUrl.lastIndexOf(".") + 1), sorted.map(({ bytes }) => toEnvoyJson(typeUrl, bytes))] as const;
  });
  const services = [...catalog.services.entries().keys()].sort();
  const translated = {
    ir: { proxy: push.proxyIr(HOST_ID), services: services.map((key) => push.outboundIr(key)) },
    resources: Object.fromEntries(shown),
  };
  for (const part of [push, proxies, catalog, hosts, statics, store]) await part.close();
  return translated;
}

function offlineReport(groups: readonly string[]): Parameters<ReturnType<typeof createAgentsRegistry>["report"]>[1] {
  return {
    hostName: HOST_ID,
    agentVersion: "",
    envoyVersion: "",
    inboundPort: 15_006,
    workloads: groups.map((group, index) => ({
      name: group.slice(group.indexOf("/") + 1),
      group,
      addresses: [HOST_ADDRESS],
      ports: {},
      health: "healthy",
      healthDetail: "",
      outboundPort: FIRST_OUTBOUND_PORT + index,
    })),
    facts: { os: "", kernel: "", architecture: "", cpus: 0, memoryBytes: 0, addresses: [HOST_ADDRESS], locality: "", capture: "", bootedAt: "" },
  };
}
