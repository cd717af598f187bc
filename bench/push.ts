/**
 * The push of configuration: the control plane's own parts from accepted
 * resources to delta ADS (registries, catalog, translation, server) in this
 * process, simulated proxies in another, over loopback cleartext HTTP/2.
 *
 *     node bench/push.ts [--services 100] [--tcp 0] [--proxies 100] [--rounds 5] [--view host]
 *
 * `--tcp`: so many more services speak TCP, each a filter chain in the listeners.
 * `--view foreign`: each proxy is a client without our agent, which takes whole
 * route tables instead of the virtual hosts that changed.
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { cpus } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { meshConfigSchema } from "../api/mesh-config.ts";
import { type AnyResource, type Kind, resourceKey, type Specs } from "../api/resource.ts";
import { systemClock } from "../base/clock.ts";
import { SourceCollection } from "../base/collection.ts";
import { serveGrpc } from "../base/grpc/server.ts";
import { silentLogger } from "../base/logger.ts";
import { createCatalog } from "../discovery/catalog/catalog.ts";
import { VipAllocator } from "../discovery/catalog/vip.ts";
import { followProxyHosts } from "../discovery/proxy-hosts.ts";
import { openForeignView } from "../discovery/push/foreign-view.ts";
import { startPush } from "../discovery/push/push.ts";
import { pushSettings } from "../discovery/push/settings.ts";
import { createAgentsRegistry, LIVENESS_DEFAULTS } from "../discovery/registry/agents/registry.ts";
import { createStaticRegistry } from "../discovery/registry/static/registry.ts";
import { createMemoryStore } from "../store/memory.ts";
import { createDeltaServer, DELTA_ADS_PATH } from "../xds/delta-server.ts";
import { type ResourceView, unionOf } from "../xds/resource-set.ts";
import { TYPE_URLS } from "../xds/type-urls.ts";
import type { FleetAnswer, FleetRequest } from "./push-fleet.ts";

const PORT = 8_080;
const TCP_PORT = 5_432;

const { values } = parseArgs({
  options: {
    services: { type: "string", default: "100" },
    tcp: { type: "string", default: "0" },
    proxies: { type: "string", default: "100" },
    rounds: { type: "string", default: "5" },
    view: { type: "string", default: "host" },
  },
});
const isForeign = values.view === "foreign";
const [serviceCount, tcpCount, proxyCount, rounds] = [Number(values.services), Number(values.tcp), Number(values.proxies), Number(values.rounds)];

function written<K extends Kind>(kind: K, name: string, spec: Specs[K]): AnyResource {
  const metadata = { name, namespace: "default", labels: {}, annotations: {} };
  return { apiVersion: "", kind, metadata, spec, position: { file: "bench.yaml", line: 1, column: 1 }, origin: "files" } as AnyResource;
}
const serviceName = (index: number): string => `service-${index}`;
const hostname = (index: number): string => `${serviceName(index)}.default.svc.mesh.internal`;
const clusterName = (index: number): string => `outbound|${PORT}||${hostname(index)}`;
/** What brings the route of a service. */
const route = (index: number): readonly [typeUrl: string, name: string] =>
  isForeign ? [TYPE_URLS.routeConfiguration, String(PORT)] : [TYPE_URLS.virtualHost, `${PORT}/${hostname(index)}:${PORT}`];
const endpoint = (index: number, replica: number, generation = 0): AnyResource =>
  written("WorkloadEntry", `${serviceName(index)}-${replica}`, {
    address: `10.${generation * 2 + replica}.${index >> 8}.${index & 255}`,
    labels: { app: serviceName(index) },
  });
const service = (index: number, port = { name: "http", port: PORT }): AnyResource[] => [
  written("Service", serviceName(index), { selector: { app: serviceName(index) }, ports: [port] }),
  endpoint(index, 0),
  endpoint(index, 1),
];
/** Behind the others. */
const tcpService = (index: number): AnyResource[] => service(index, { name: "tcp", port: TCP_PORT });

const mesh = meshConfigSchema.parse({});
const store = createMemoryStore();
const config = new SourceCollection<AnyResource>();
const put = (resources: readonly AnyResource[]): void => config.apply(resources.map((one) => [resourceKey(one), one]));
put([written("WorkloadGroup", "client", { template: { serviceAccount: "client" } }), ...Array.from({ length: serviceCount + tcpCount }, (_, index) => (index < serviceCount ? service(index) : tcpService(index))).flat()]);
const statics = createStaticRegistry({ config, meshDomain: mesh.domain });
const hosts = createAgentsRegistry({
  templates: statics.templates,
  grants: { allowsGroup: () => true, allowsAddress: () => true },
  store,
  clock: systemClock,
  liveness: LIVENESS_DEFAULTS,
});
await hosts.load();
const catalog = createCatalog({
  registries: [statics, hosts],
  meshDomain: mesh.domain,
  trustDomain: mesh.trustDomain,
  vips: await VipAllocator.load({ store, ranges: mesh.vipRanges, now: Date.now }),
  onVipFailure(failure) {
    throw failure;
  },
});
statics.start();
hosts.start();
const facts = { os: "", kernel: "", architecture: "", cpus: 2, memoryBytes: 0, addresses: [], locality: "", capture: "nft", bootedAt: "" };
for (let index = 0; index < proxyCount; index += 1) {
  const workload = { name: "client", group: "default/client", addresses: [`172.16.${index >> 8}.${index & 255}`], ports: {}, health: "healthy" as const, healthDetail: "", outboundPort: 15_101 };
  hosts.report(`proxy-${index}`, { hostName: "", agentVersion: "", envoyVersion: "", inboundPort: 15_006, workloads: [workload], facts });
}
await catalog.settled();
const proxies = followProxyHosts({ hosts: hosts.hosts, templates: statics.templates, config, trustDomain: mesh.trustDomain });
const trustBundles = new SourceCollection<string>();
trustBundles.apply([[mesh.trustDomain, "x".repeat(600)]]);
const built = performance.now();
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
const buildMs = performance.now() - built;
const viewOf = (hostId: string): ResourceView => (isForeign ? openForeignView(push, { hostId, name: "client" }).view : unionOf([push.setOf(hostId), push.shared]));
const ads = createDeltaServer({ onOpen: (_peer, node) => ({ sets: [viewOf(node?.id ?? "")] }) });
const server = await serveGrpc({ listen: { host: "127.0.0.1", port: 0 }, handlers: { [DELTA_ADS_PATH]: ads.handler }, logger: silentLogger });
const fleet = fork(join(import.meta.dirname, "push-fleet.ts"));
let peakBytes = 0;
const sampling = setInterval(() => (peakBytes = Math.max(peakBytes, process.memoryUsage.rss())), 100);

interface Measured {
  readonly delaysMs: number[];
  cpuSeconds: number;
  bytes: number;
  rounds: number;
}
const measured = new Map<string, Measured>();
const say = (request: FleetRequest): boolean => fleet.send(request);
const answer = async (): Promise<FleetAnswer> => ((await once(fleet, "message")) as [FleetAnswer])[0];

async function measure(what: string, act: () => void): Promise<void> {
  const cpu = process.cpuUsage();
  const start = performance.timeOrigin + performance.now();
  const arriving = answer();
  act();
  const arrived = await arriving;
  if (arrived.kind !== "arrived") throw new Error("the fleet is out of step");
  const spent = process.cpuUsage(cpu);
  const sum = measured.get(what) ?? { delaysMs: [], cpuSeconds: 0, bytes: 0, rounds: 0 };
  measured.set(what, sum);
  sum.delaysMs.push(...arrived.atMs.map((at) => at - start));
  sum.cpuSeconds += (spent.user + spent.system) / 1e6;
  sum.bytes += arrived.bytes;
  sum.rounds += 1;
}

async function change(what: string, expected: readonly (readonly [typeUrl: string, name: string])[], resources: readonly AnyResource[]): Promise<void> {
  const ready = answer();
  say({ kind: "expect", resources: expected.map(([typeUrl, name]) => ({ typeUrl, name })) });
  await ready;
  await measure(what, () => put(resources));
}

const sample = viewOf("proxy-0");
const sizeOf = (typeUrl: string): number => [...sample.list(typeUrl)].length;
const tables = [...sample.list(TYPE_URLS.routeConfiguration)].map(({ name }) => name);
await measure("everything to everybody", () =>
  say({
    kind: "start",
    target: server.address,
    clients: proxyCount,
    routeConfigurations: tables,
    expected: {
      [TYPE_URLS.cluster]: sizeOf(TYPE_URLS.cluster),
      [TYPE_URLS.clusterLoadAssignment]: serviceCount + tcpCount,
      [TYPE_URLS.listener]: sizeOf(TYPE_URLS.listener),
      [TYPE_URLS.routeConfiguration]: tables.length,
      [TYPE_URLS.virtualHost]: isForeign ? 0 : sizeOf(TYPE_URLS.virtualHost),
    },
  }),
);
for (let round = 1; round <= rounds; round += 1) {
  const host = serviceName(7);
  await change("one endpoint", [[TYPE_URLS.clusterLoadAssignment, clusterName(7)]], [endpoint(7, 0, round)]);
  await change("one VirtualService", [route(7)], [
    written("VirtualService", "bench", { hosts: [host], http: [{ route: [{ destination: { host } }], timeout: `${round}s` }] }),
  ]);
  await change("one DestinationRule", [[TYPE_URLS.cluster, clusterName(7)]], [
    written("DestinationRule", "bench", { host, trafficPolicy: { connectionPool: { tcp: { maxConnections: round } } } }),
  ]);
  const index = serviceCount + tcpCount + 2 * round;
  const made = [[TYPE_URLS.cluster, clusterName(index)], [TYPE_URLS.clusterLoadAssignment, clusterName(index)], route(index)] as const;
  await change("one new service", made, service(index));
  if (tcpCount > 0) await change("one new TCP service", [[TYPE_URLS.listener, "outbound|client"]], tcpService(index + 1));
}

console.log(`${serviceCount} services × 2 endpoints and ${tcpCount} of TCP, ${proxyCount} proxies (view: ${values.view}), ${rounds} rounds; ${cpus().length} × ${cpus()[0]?.model}; Node ${process.version}`);
console.log(`first translation ${buildMs.toFixed(0)} ms; peak memory ${(peakBytes / 1e6).toFixed(0)} MB\n`);
console.log("| what | p50 ms | p99 ms | server CPU s | bytes MB |\n|---|---|---|---|---|");
for (const [what, { delaysMs, cpuSeconds, bytes, rounds: count }] of measured) {
  const sorted = delaysMs.toSorted((left, right) => left - right);
  const at = (share: number): string => (sorted[Math.floor(share * (sorted.length - 1))] ?? Number.NaN).toFixed(0);
  console.log(`| ${what} | ${at(0.5)} | ${at(0.99)} | ${(cpuSeconds / count).toFixed(3)} | ${(bytes / count / 1e6).toFixed(2)} |`);
}
clearInterval(sampling);
say({ kind: "stop" });
await once(fleet, "exit");
await server.close(0);
await push.close();
proxies.close();
for (const part of [catalog, hosts, statics, store]) await part.close();
