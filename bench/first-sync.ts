/**
 * Many services that come at once while the control plane runs, as from a
 * registry that answers for the first time: what it costs, and how long
 * everything else (health checks, streams, the API) stands still. In one
 * process, with the store on disk and without streams.
 *
 * From `yaml`; from a `registry` whose services bring their instances, as
 * Consul and Kubernetes tell them; or on the `return` of such a one, whose
 * last good content was there from the store.
 *
 *     node bench/first-sync.ts [--from yaml|registry|return] [--services 10000] [--endpoints 5]
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
import { keepLastGood, type LastGoodRegistry } from "../discovery/registry/last-good.ts";
import { createStaticRegistry } from "../discovery/registry/static/registry.ts";
import { openSqliteStore } from "../store/sqlite.ts";
import { TYPE_URLS } from "../xds/type-urls.ts";
import { watchEventLoop } from "./event-loop-blocks.ts";
import { instancesOf, servicesOf } from "./registry-content.ts";
import { type Told, toldRegistry } from "./told-registry.ts";

const { values } = parseArgs({
  options: { from: { type: "string", default: "yaml" }, services: { type: "string", default: "10000" }, endpoints: { type: "string", default: "5" } },
});
const [services, endpoints] = [Number(values.services), Number(values.endpoints)];
const content = instancesOf({ services, endpoints });

const mesh = meshConfigSchema.parse({});
const folder = await mkdtemp(join(tmpdir(), "ironmesh-bench-"));
const store = await openSqliteStore({ path: join(folder, "state.db") });
const config = new SourceCollection<AnyResource>();
const statics = createStaticRegistry({ config, meshDomain: mesh.domain });
const load = async (told: Told): Promise<LastGoodRegistry> => {
  const kept = keepLastGood((onSynced) => told.listen(onSynced), { kind: "consul", store, clock: systemClock, admission: { scope: "", admit: (_id, service) => service } });
  await kept.load();
  return kept;
};
if (values.from === "return") {
  const told = toldRegistry();
  const before = await load(told);
  told.tell(content);
  await before.close();
}
const told = toldRegistry();
const registry = await load(told);
const catalog = createCatalog({
  registries: [statics, registry],
  meshDomain: mesh.domain,
  trustDomain: mesh.trustDomain,
  vips: await VipAllocator.load({ store, ranges: mesh.vipRanges, now: Date.now }),
  onVipFailure(failure) {
    throw failure;
  },
});
statics.start();
await catalog.settled();
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
await sleep(1_000);
let writes = 0;
push.shared.watch(() => (writes += 1));

const written = values.from === "yaml" ? servicesOf({ services, endpoints }, true).map((one) => [resourceKey(one), one] as const) : [];
const well = new Set<string>();
catalog.endpoints.subscribe((changes) => {
  for (const { key, after = [] } of changes) if (after.length === endpoints && after.every(({ health }) => health === "healthy")) well.add(key);
});
const blocks = watchEventLoop();
const before = process.cpuUsage();
if (values.from === "yaml") config.apply(written);
else told.tell(content);
// The last that a service needs is its name, with the virtual addresses; and that its endpoints are known to be well.
while (push.shared.size(TYPE_URLS.nameRecord) < services || well.size < services) await sleep(20);
// What is still to be written to the store.
await sleep(3_000);

const { user, system } = process.cpuUsage(before);
console.log(`${services} services × ${endpoints} endpoints at once, ${values.from}; ${cpus().length} × ${cpus()[0]?.model}; Node ${process.version}`);
console.log(`CPU ${((user + system) / 1e6).toFixed(1)} s; ${writes} transactions; resident ${(process.memoryUsage().rss / 1e6).toFixed(0)} MB`);
console.log(`longest blocks of the event loop (CPU ms): ${blocks.longestMs(8).map((ms) => ms.toFixed(0)).join(", ")}`);
await push.close();
for (const part of [catalog, statics, registry, store]) await part.close();
await rm(folder, { recursive: true });
