/**
 * The xDS server alone: M services to N simulated proxies over loopback
 * cleartext HTTP/2, nothing translated. What the push of a change costs below
 * everything else.
 *
 *     node bench/xds-server.ts [services=1000] [proxies=500]
 */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { cpus } from "node:os";
import { join } from "node:path";
import { create, toBinary } from "@bufbuild/protobuf";
import { serveGrpc } from "../base/grpc/server.ts";
import { silentLogger } from "../base/logger.ts";
import { Cluster_DiscoveryType, ClusterSchema } from "../proto/gen/envoy/config/cluster/v3/cluster_pb.js";
import { RouteConfigurationSchema } from "../proto/gen/envoy/config/route/v3/route_pb.js";
import { createDeltaServer, DELTA_ADS_PATH } from "../xds/delta-server.ts";
import { createResource, type Resource } from "../xds/resource.ts";
import { createResourceSet } from "../xds/resource-set.ts";
import { TYPE_URLS } from "../xds/type-urls.ts";
import type { FleetAnswer, FleetRequest } from "./push-fleet.ts";

const [services = 1000, proxies = 500] = process.argv.slice(2).map(Number);

/** Bodies of about the size that real ones have. */
function cluster(name: string): Resource {
  const message = create(ClusterSchema, {
    name,
    altStatName: "x".repeat(700),
    clusterDiscoveryType: { case: "type", value: Cluster_DiscoveryType.EDS },
  });
  return createResource(TYPE_URLS.cluster, name, toBinary(ClusterSchema, message));
}
const filler = (typeUrl: string, name: string, size: number, mark = ""): Resource =>
  createResource(typeUrl, name, Buffer.from(`${name}${mark}`.padEnd(size, "x")));
const clusterName = (index: number): string => `outbound|8080||service-${index}.default.svc.mesh.internal`;
const hostName = (index: number): string => `outbound/service-${index}.default.svc.mesh.internal:8080`;

const set = createResourceSet();
set.update((transaction) => {
  for (let index = 0; index < services; index += 1) {
    transaction.upsert(cluster(clusterName(index)));
    transaction.upsert(filler(TYPE_URLS.clusterLoadAssignment, clusterName(index), 400));
    transaction.upsert(filler(TYPE_URLS.virtualHost, hostName(index), 500));
  }
  for (const name of ["virtualOutbound", "virtualInbound"]) transaction.upsert(filler(TYPE_URLS.listener, name, 3000));
  const table = create(RouteConfigurationSchema, { name: "outbound", vhds: {} });
  transaction.upsert(createResource(TYPE_URLS.routeConfiguration, "outbound", toBinary(RouteConfigurationSchema, table)));
});

const ads = createDeltaServer({ onOpen: () => ({ sets: [set] }) });
const server = await serveGrpc({
  listen: { host: "127.0.0.1", port: 0 },
  handlers: { [DELTA_ADS_PATH]: ads.handler },
  logger: silentLogger,
});
const fleet: ChildProcess = fork(join(import.meta.dirname, "push-fleet.ts"));
let peakBytes = 0;
const sampling = setInterval(() => (peakBytes = Math.max(peakBytes, process.memoryUsage.rss())), 250);

const say = (request: FleetRequest): boolean => fleet.send(request);
const answer = async (): Promise<FleetAnswer> => ((await once(fleet, "message")) as [FleetAnswer])[0];

async function measure(what: string, act: () => void): Promise<void> {
  const cpu = process.cpuUsage();
  const start = performance.timeOrigin + performance.now();
  act();
  const arrived = await answer();
  if (arrived.kind !== "arrived") throw new Error("the fleet is out of step");
  const spent = process.cpuUsage(cpu);
  const delays = arrived.atMs.map((at) => at - start).toSorted((a, b) => a - b);
  const at = (share: number): string => (delays[Math.floor(share * (delays.length - 1))] ?? Number.NaN).toFixed(1);
  const cpuSeconds = ((spent.user + spent.system) / 1e6).toFixed(3);
  console.log(
    `${what.padEnd(18)} p50 ${at(0.5).padStart(8)} ms   p99 ${at(0.99).padStart(8)} ms   server CPU ${cpuSeconds} s   ` +
      `${(arrived.bytes / 1e6).toFixed(3)} MB   peak ${(peakBytes / 1e6).toFixed(0)} MB`,
  );
}

async function change(what: string, resources: readonly Resource[]): Promise<void> {
  const last = resources.at(-1);
  if (last === undefined) return;
  say({ kind: "expect", resources: [{ typeUrl: last.typeUrl, name: last.name, version: last.version }] });
  await answer();
  await measure(what, () => set.update((transaction) => resources.forEach((resource) => transaction.upsert(resource))));
}

console.log(`${services} services, ${proxies} proxies; ${cpus().length} × ${cpus()[0]?.model}; Node ${process.version}`);
await measure("everything", () =>
  say({
    kind: "start",
    target: server.address,
    clients: proxies,
    routeConfigurations: ["outbound"],
    expected: {
      [TYPE_URLS.cluster]: services,
      [TYPE_URLS.clusterLoadAssignment]: services,
      [TYPE_URLS.listener]: 2,
      [TYPE_URLS.routeConfiguration]: 1,
      [TYPE_URLS.virtualHost]: services,
    },
  }),
);
for (const round of [1, 2, 3]) {
  await change("one endpoint", [filler(TYPE_URLS.clusterLoadAssignment, clusterName(7), 400, `-${round}`)]);
  await change("one virtual host", [filler(TYPE_URLS.virtualHost, hostName(7), 500, `-${round}`)]);
  const index = services + round;
  await change("one new service", [
    cluster(clusterName(index)),
    filler(TYPE_URLS.clusterLoadAssignment, clusterName(index), 400),
    filler(TYPE_URLS.virtualHost, hostName(index), 500),
  ]);
}
globalThis.gc?.();
console.log(`server at rest: ${(process.memoryUsage.rss() / 1e6).toFixed(0)} MB resident, ${(process.memoryUsage().heapUsed / 1e6).toFixed(0)} MB heap`);
clearInterval(sampling);
say({ kind: "stop" });
await server.close(0);
