/**
 * Many services that come at once while the control plane runs, as from a
 * registry that answers for the first time: what it costs, and how long
 * everything else (health checks, streams, the API) stands still. In one
 * process, with the store on disk and without streams.
 *
 *     node bench/first-sync.ts [--services 10000] [--endpoints 5]
 */
import { mkdtemp, rm } from "node:fs/promises";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { meshConfigSchema } from "../api/mesh-config.ts";
import { type AnyResource, resourceKey } from "../api/resource.ts";
import { systemClock } from "../base/clock.ts";
import { SourceCollection } from "../base/collection.ts";
import { createCatalog } from "../discovery/catalog/catalog.ts";
import { VipAllocator } from "../discovery/catalog/vip.ts";
import type { ProxyHost } from "../discovery/push/inputs.ts";
import { startPush } from "../discovery/push/push.ts";
import { pushSettings } from "../discovery/push/settings.ts";
import { createStaticRegistry } from "../discovery/registry/static/registry.ts";
import { openSqliteStore } from "../store/sqlite.ts";
import { TYPE_URLS } from "../xds/type-urls.ts";
import { servicesOf } from "./registry-content.ts";

const { values } = parseArgs({ options: { services: { type: "string", default: "10000" }, endpoints: { type: "string", default: "5" } } });
const [services, endpoints] = [Number(values.services), Number(values.endpoints)];

const mesh = meshConfigSchema.parse({});
const folder = await mkdtemp(join(tmpdir(), "ironmesh-bench-"));
const store = await openSqliteStore({ path: join(folder, "state.db") });
const config = new SourceCollection<AnyResource>();
const statics = createStaticRegistry({ config, meshDomain: mesh.domain });
const catalog = createCatalog({
  registries: [statics],
  meshDomain: mesh.domain,
  trustDomain: mesh.trustDomain,
  vips: await VipAllocator.load({ store, ranges: mesh.vipRanges, now: Date.now }),
  onVipFailure(failure) {
    throw failure;
  },
});
statics.start();
const trustBundles = new SourceCollection<string>();
trustBundles.apply([[mesh.trustDomain, "x".repeat(600)]]);
const push = startPush({
  services: catalog.services,
  awaitingAddress: catalog.awaitingAddress,
  endpoints: catalog.endpoints,
  workloads: catalog.workloads,
  names: catalog.names,
  config,
  hosts: new SourceCollection<ProxyHost>(),
  trustBundles,
  settings: pushSettings(mesh),
  clock: systemClock,
});
let writes = 0;
push.shared.watch(() => (writes += 1));

/** CPU time of this thread, so that other processes do not show. */
const cpuMs = (): number => {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1_000;
};
const blocks: number[] = [];
let lastMs = cpuMs();
setInterval(() => {
  const nowMs = cpuMs();
  blocks.push(nowMs - lastMs);
  lastMs = nowMs;
}, 1).unref();
const before = process.cpuUsage();
config.apply(servicesOf({ services, endpoints }, true).map((one) => [resourceKey(one), one]));
// The last that a service needs is its name, with the virtual addresses.
while (push.shared.size(TYPE_URLS.nameRecord) < services) await sleep(20);
await sleep(500);

const { user, system } = process.cpuUsage(before);
const longest = blocks.toSorted((left, right) => right - left).map((ms) => ms.toFixed(0));
console.log(`${services} services × ${endpoints} endpoints at once; ${cpus().length} × ${cpus()[0]?.model}; Node ${process.version}`);
console.log(`CPU ${((user + system) / 1e6).toFixed(1)} s; ${writes} transactions; resident ${(process.memoryUsage().rss / 1e6).toFixed(0)} MB`);
console.log(`longest blocks of the event loop (CPU ms): ${longest.slice(0, 8).join(", ")}`);
await push.close();
for (const part of [catalog, statics, store]) await part.close();
await rm(folder, { recursive: true });
