import { join } from "node:path";
import { systemClock } from "../../base/clock.ts";
import { SourceCollection } from "../../base/collection.ts";
import type { Logger } from "../../base/logger.ts";
import { TaskGroup } from "../../base/task-group.ts";
import { encodePem } from "../../base/x509/pem.ts";
import { createCertificateAuthority } from "../../ca/service.ts";
import { createCatalog } from "../../discovery/catalog/catalog.ts";
import { VipAllocator } from "../../discovery/catalog/vip.ts";
import { startConfig } from "../../discovery/config/config.ts";
import { watchConfigFiles } from "../../discovery/config/files.ts";
import { createLastGood } from "../../discovery/config/last-good.ts";
import { watchStoredConfig } from "../../discovery/config/store.ts";
import { createMeshMetrics } from "../../discovery/http/mesh-metrics.ts";
import { serveHttp } from "../../discovery/http/server.ts";
import { followProxyHosts } from "../../discovery/proxy-hosts.ts";
import { startPush } from "../../discovery/push/push.ts";
import { pushSettings } from "../../discovery/push/settings.ts";
import { createAgentsRegistry } from "../../discovery/registry/agents/registry.ts";
import type { Publisher } from "../../discovery/registry/consul/publish/publisher.ts";
import { createStaticRegistry } from "../../discovery/registry/static/registry.ts";
import { openSqliteStore } from "../../store/sqlite.ts";
import { openAgentPort, shareTrustBundle } from "./agent-port.ts";
import { createApi } from "./api.ts";
import { locateCauses } from "./causes.ts";
import { followAnalysis } from "./analysis.ts";
import { keepCertificateRenewed } from "./certificate-renewal.ts";
import { clusterAllowance, clusterRoots, startClusterConfigs, withClusterNotes } from "./cluster-config.ts";
import type { ControlPlaneConfig } from "./config.ts";
import { openDebugPort } from "./debug-port.ts";
import { followGrants } from "./grants.ts";
import { logRefusedWorkloads } from "./refused-workloads.ts";
import { openPublisher } from "./publications.ts";
import { openRegistry } from "./registries.ts";
import { samenessRule } from "./sameness.ts";
import { followTrustBundle } from "./trust-bundle.ts";

/** A running control plane. Whoever started it closes it. */
export interface BoundControlPlane {
  readonly agentAddresses: readonly unknown[];
  readonly metricsPort: number;
  close(): Promise<void>;
}

/** Starts every part, in the order in which they need each other; a failure ends those that run. */
export async function startControlPlane(config: ControlPlaneConfig, logger: Logger): Promise<BoundControlPlane> {
  const tasks = new TaskGroup();
  try {
    return await compose(config, logger, tasks);
  } catch (failure) {
    await tasks.close();
    throw failure;
  }
}

async function compose(config: ControlPlaneConfig, logger: Logger, tasks: TaskGroup): Promise<BoundControlPlane> {
  const { mesh, stateDir } = config;
  const clock = systemClock;
  const note = (what: string) => (err: unknown) => logger.error({ err }, what);
  const store = tasks.own(await openSqliteStore({ path: join(stateDir, "state.db") }));

  // What people wrote.
  const lastGood = tasks.own(createLastGood({ store, isAllowed: clusterAllowance(config), onProblem: note("the last good configuration is not saved") }));
  const stored = tasks.own(await watchStoredConfig({ store, onProblem: note("applied resources cannot be read") }));
  const files = config.configDir === undefined ? [] : [tasks.own(await watchConfigFiles({ directory: config.configDir, onProblem: note("the configuration directory cannot be read") }))];
  const clusters = startClusterConfigs(config, clock);
  for (const cluster of clusters.values()) tasks.own(cluster);
  const written = tasks.own(await startConfig({ sources: [...files, stored, ...clusters.values()], lastGood }));

  // Who may be what.
  const statics = createStaticRegistry({ config: written.resources, meshDomain: mesh.domain });
  const authority = tasks.own(
    await createCertificateAuthority({
      store,
      clock,
      logger,
      config: { ...config.ca, trustDomain: mesh.trustDomain, replica: config.replica, keyFile: config.ca.keyFile ?? join(stateDir, "ca.key") },
      resolveGroup: (group) => statics.templates.get(group),
    }),
  );

  // What there is.
  const grants = tasks.own(await followGrants({ store, clock, logger }));
  const hosts = tasks.own(createAgentsRegistry({ templates: statics.templates, grants, store, clock, liveness: config.liveness }));
  tasks.own(logRefusedWorkloads(hosts.hosts, logger));
  await hosts.load();
  const surroundings = { meshDomain: mesh.domain, store, clock, registries: config.registries };
  const others = await Promise.all(config.registries.map(async (registry) => withClusterNotes(tasks.own(await openRegistry(registry, surroundings)), clusters)));
  const registries = [tasks.own(statics), hosts, ...others];
  const vips = await VipAllocator.load({ store, ranges: mesh.vipRanges, now: () => clock.now() });
  const catalog = tasks.own(
    createCatalog({
      registries,
      sameness: config.sameness.map(samenessRule),
      meshDomain: mesh.domain,
      trustDomain: mesh.trustDomain,
      vips,
      onVipFailure: note("virtual addresses cannot be allocated"),
    }),
  );
  // Their start judges by the grants as they are then: whatever changes later must be heard.
  grants.subscribe((hostId, isRevoked) => (isRevoked ? hosts.remove(hostId) : hosts.recheck(hostId)));
  for (const registry of registries) registry.start();
  await catalog.settled();
  const settings = pushSettings(mesh, clusterRoots(config));
  tasks.own(followAnalysis(written, catalog, mesh, settings.roots, clock));

  // What proxies are told.
  const proxies = tasks.own(followProxyHosts({ hosts: hosts.hosts, templates: statics.templates, config: written.resources, trustDomain: mesh.trustDomain }));
  const trustBundles = new SourceCollection<string>();
  const bundle = await authority.trustBundle();
  trustBundles.apply([[bundle.trustDomain, bundle.roots.map((root) => encodePem("CERTIFICATE", root)).join("")]]);
  const push = tasks.own(
    startPush({
      services: catalog.services,
      awaitingAddress: catalog.awaitingAddress,
      endpoints: catalog.endpoints,
      workloads: catalog.workloads,
      names: catalog.names,
      config: written.resources,
      hosts: proxies.proxies,
      trustBundles,
      settings,
      clock,
    }),
  );
  tasks.own(
    followTrustBundle({
      store,
      clock,
      onFailure: note("the trust bundle cannot be followed"),
      onChange(next) {
        trustBundles.apply([[next.trustDomain, next.roots.map((root) => encodePem("CERTIFICATE", root)).join("")]]);
        shareTrustBundle(push, next);
      },
    }),
  );

  // What Consul's users are told.
  const publishers = new Map<string, Publisher>();
  for (const registry of config.registries) {
    const publisher = await openPublisher(registry, { trustDomain: mesh.trustDomain, store, catalog, push, returnMs: config.liveness.returnMs, clock, logger });
    if (publisher !== undefined) publishers.set(registry.name, tasks.own(publisher));
  }

  // Where it is served.
  const port = tasks.own(
    await openAgentPort({
      listen: config.listen.agents,
      authority,
      grants,
      hosts,
      push,
      locate: (keys) => locateCauses(written, keys),
      clock,
      logger,
      onNack: (hostId, nack) => {
        if (!nack.isFinal) return;
        const causes = locateCauses(written, nack.resources.flatMap(({ name }) => push.causesOf(hostId, nack.typeUrl, name)));
        logger.warn({ hostId, typeUrl: nack.typeUrl, causes, message: nack.message }, "a proxy rejected resources");
      },
    }),
  );
  const { plaintextXds } = config.debug;
  if (plaintextXds !== undefined) {
    const url = new URL(`http://${plaintextXds}`);
    tasks.own(await openDebugPort({ listen: { host: url.hostname.replace(/^\[|\]$/g, ""), port: Number(url.port) }, hosts, push, logger }));
    logger.warn({ plaintextXds }, "whoever is on this machine may see what proxies are told");
  }
  tasks.own(
    keepCertificateRenewed({
      ttlMs: config.ca.controlPlaneTtlSeconds * 1_000,
      backdateMs: config.ca.backdateSeconds * 1_000,
      clock,
      renew: () => port.renewCertificate(),
      onFailure: note("the control plane's certificate cannot be renewed"),
      onStep: (stepMs) => logger.warn({ stepSeconds: Math.round(stepMs / 1_000) }, "the clock of this machine was set: certificates and tokens are judged by it, and hosts by theirs"),
    }),
  );
  const metrics = createMeshMetrics({ catalog, hosts, registries, streams: () => port.streams(), clock });
  const http = tasks.own(
    await serveHttp({
      api: createApi({ written, store, authority, grants, catalog, registries, publishers, hosts, push, port }),
      metrics,
      logger,
      apiSocket: config.listen.apiSocket,
      metricsAddress: config.listen.metrics,
    }),
  );
  hosts.ready();
  for (const publisher of publishers.values()) publisher.start();
  return { agentAddresses: port.addresses, metricsPort: http.metricsPort, close: () => tasks.close() };
}
