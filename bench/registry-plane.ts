/**
 * The control plane's own parts from one registry to delta ADS, in the order in
 * which `cli/control-plane/app.ts` starts them, in a process of its own: what
 * registers and measures must not be in its figures. Started by
 * `bench/registries.ts` with `fork`; speaks by messages.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type AnyResource, resourceKey } from "../api/resource.ts";
import { systemClock } from "../base/clock.ts";
import { SourceCollection } from "../base/collection.ts";
import type { GrpcTarget } from "../base/grpc/client-connection.ts";
import { serveGrpc } from "../base/grpc/server.ts";
import { silentLogger } from "../base/logger.ts";
import { controlPlaneSchema } from "../cli/control-plane/config.ts";
import { openRegistry } from "../cli/control-plane/registries.ts";
import { createCatalog } from "../discovery/catalog/catalog.ts";
import { VipAllocator } from "../discovery/catalog/vip.ts";
import { createMeshMetrics } from "../discovery/http/mesh-metrics.ts";
import { followProxyHosts } from "../discovery/proxy-hosts.ts";
import { startPush } from "../discovery/push/push.ts";
import { pushSettings } from "../discovery/push/settings.ts";
import type { HostRecord } from "../discovery/registry/agents/host-record.ts";
import { createAgentsRegistry, LIVENESS_DEFAULTS } from "../discovery/registry/agents/registry.ts";
import { createStaticRegistry } from "../discovery/registry/static/registry.ts";
import { openSqliteStore } from "../store/sqlite.ts";
import { createDeltaServer, DELTA_ADS_PATH } from "../xds/delta-server.ts";
import { unionOf } from "../xds/resource-set.ts";
import { watchEventLoop } from "./event-loop-blocks.ts";
import { clientReport, groupsOf, hostReportOf, hostsOf, servicesOf, written } from "./registry-content.ts";
import type { RegistryEntry, Size } from "./registry-source.ts";

export const CLIENT = "client";
const SCRAPES = 10;

/** What the benchmark asks. */
export type PlaneRequest =
  | { readonly kind: "start"; readonly size: Size; readonly registry: RegistryEntry | { readonly kind: "static" | "hosts" } }
  /** Of what lives in this process: YAML and hosts. */
  | { readonly kind: "change"; readonly index: number; readonly generation: number }
  | { readonly kind: "stop" };

/** What it answers. Times in milliseconds from the start of the registries. */
export type PlaneAnswer =
  | { readonly kind: "serving"; readonly target: GrpcTarget; readonly startedAt: number }
  | { readonly kind: "complete"; readonly catalogMs: number; readonly cpuSeconds: number; readonly scrapeCpuMs: number; /** Of the event loop, in CPU time. */ readonly longestBlocksMs: readonly number[] };

const say = (answer: PlaneAnswer): void => void process.send?.(answer);
const now = (): number => performance.timeOrigin + performance.now();
let change: (index: number, generation: number) => void = () => {};
let stop: () => Promise<void> = async () => {};

async function start({ size, registry: source }: PlaneRequest & { readonly kind: "start" }): Promise<void> {
  const { mesh, registries: configured } = controlPlaneSchema.parse({ registries: source.kind === "consul" || source.kind === "kubernetes" ? [source] : [] });
  const folder = await mkdtemp(join(tmpdir(), "ironmesh-bench-"));
  const store = await openSqliteStore({ path: join(folder, "state.db") });
  const config = new SourceCollection<AnyResource>();
  const put = (resources: readonly AnyResource[]): void => config.apply(resources.map((one) => [resourceKey(one), one]));
  put([written("WorkloadGroup", CLIENT, { template: { serviceAccount: CLIENT } })]);
  const statics = createStaticRegistry({ config, meshDomain: mesh.domain });
  const agents = createAgentsRegistry({ templates: statics.templates, grants: { allowsGroup: () => true, allowsAddress: () => true }, store, clock: systemClock, liveness: LIVENESS_DEFAULTS });
  await agents.load();
  const surroundings = { meshDomain: mesh.domain, store, clock: systemClock, registries: configured };
  const others = await Promise.all(configured.map((one) => openRegistry(one, surroundings)));
  const registries = [statics, agents, ...others];
  const catalog = createCatalog({
    registries,
    meshDomain: mesh.domain,
    trustDomain: mesh.trustDomain,
    vips: await VipAllocator.load({ store, ranges: mesh.vipRanges, now: Date.now }),
    onVipFailure(failure) {
      throw failure;
    },
  });
  // What is made here is no part of what it costs to take it.
  const content = source.kind === "static" || source.kind === "hosts" ? servicesOf(size, source.kind === "static") : [];
  const groups = source.kind === "hosts" ? groupsOf(size) : [];
  const reports = source.kind === "hosts" ? hostsOf(size) : [];

  const blocks = watchEventLoop();
  const cpu = process.cpuUsage();
  const startedAt = now();
  put([...content, ...groups]);
  for (const registry of registries) registry.start();
  for (const { hostId, report } of reports) {
    agents.connected(hostId);
    agents.report(hostId, report);
  }
  agents.connected(CLIENT);
  agents.report(CLIENT, clientReport());
  await catalog.settled();
  // Hosts are measured as a registry: what each of thousands of proxies would be told is another benchmark's.
  const client = new SourceCollection<HostRecord>();
  const record = agents.hosts.get(CLIENT);
  client.apply(record === undefined ? [] : [[CLIENT, record]]);
  const proxies = followProxyHosts({ hosts: client, templates: statics.templates, config, trustDomain: mesh.trustDomain });
  const trustBundles = new SourceCollection<string>();
  trustBundles.apply([[mesh.trustDomain, "x".repeat(600)]]);
  const push = startPush({ services: catalog.services, awaitingAddress: catalog.awaitingAddress, endpoints: catalog.endpoints, workloads: catalog.workloads, names: catalog.names, config, hosts: proxies.proxies, trustBundles, settings: pushSettings(mesh), clock: systemClock });
  const ads = createDeltaServer({ onOpen: (_peer, node) => ({ sets: [unionOf([push.setOf(node?.id ?? ""), push.shared])] }) });
  const server = await serveGrpc({ listen: { host: "127.0.0.1", port: 0 }, handlers: { [DELTA_ADS_PATH]: ads.handler }, logger: silentLogger });
  agents.ready();
  say({ kind: "serving", target: server.address, startedAt });

  change = (index, generation) => {
    if (source.kind === "static") put(servicesOf({ ...size, services: 1 }, true, index, generation).slice(1, 2));
    else {
      const changed = hostReportOf(size, index, generation);
      agents.report(changed.hostId, changed.report);
    }
  };
  stop = async () => {
    await server.close(0);
    await push.close();
    proxies.close();
    for (const part of [catalog, ...registries, store]) await part.close();
    await rm(folder, { recursive: true });
  };
  const isComplete = (): boolean => {
    if (catalog.services.entries().size < size.services) return false;
    let endpoints = 0;
    for (const served of catalog.endpoints.entries().values()) endpoints += served.length;
    return endpoints >= size.services * size.endpoints;
  };
  while (!isComplete()) await sleep(20);
  await catalog.settled();
  const catalogMs = now() - startedAt;
  const cpuSeconds = secondsSince(cpu);
  const longestBlocksMs = blocks.longestMs(4);
  blocks.stop();
  const metrics = createMeshMetrics({ catalog, hosts: agents, registries, streams: () => ads.streams(), clock: systemClock });
  const before = process.cpuUsage();
  for (let scrape = 0; scrape < SCRAPES; scrape += 1) await metrics.metrics();
  say({ kind: "complete", catalogMs, cpuSeconds, scrapeCpuMs: (secondsSince(before) * 1_000) / SCRAPES, longestBlocksMs });
}

function secondsSince(before: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1e6;
}

process.on("message", (request: PlaneRequest) => {
  if (request.kind === "start") void start(request);
  else if (request.kind === "change") change(request.index, request.generation);
  else void stop().then(() => process.exit(0));
});
