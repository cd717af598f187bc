import { mkdir } from "node:fs/promises";
import { availableParallelism, networkInterfaces } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { backoffDelay } from "../base/backoff.ts";
import { systemClock } from "../base/clock.ts";
import type { Clock } from "../base/clock.ts";
import { CodedError, messageOf } from "../base/coded-error.ts";
import type { Logger } from "../base/logger.ts";
import { TaskGroup } from "../base/task-group.ts";
import { parseLocality } from "../model/workload.ts";
import type { ReportRequest } from "../proto/gen/ironmesh/agent/v1/agent_pb.js";
import { PROTO_REGISTRY } from "../proto/registry.ts";
import { agentMetrics } from "./agent-metrics.ts";
import { agentService } from "./agent-service.ts";
import { CGROUP_ROOTS } from "./binding.ts";
import { buildReport } from "./build-report.ts";
import { startCaptureControl } from "./capture-control.ts";
import type { CaptureControl } from "./capture-control.ts";
import { AGENT_DEFAULTS, parseHostPort, workloadName } from "./config.ts";
import type { AgentConfig } from "./config.ts";
import { watchControlGroups } from "./control-group-watch.ts";
import { connectControlPlane } from "./control-plane-link.ts";
import { startHostDns } from "./dns/host-server.ts";
import { knownNames } from "./dns/known-names.ts";
import { keepNamesApart, NAMES_FOLDER } from "./dns/names-on-disk.ts";
import { buildNameTable } from "./dns/name-table.ts";
import { enrol } from "./enrol.ts";
import { findEnvoy, lookUpUser } from "./envoy-binary.ts";
import { startEnvoy } from "./envoy-process.ts";
import type { EnvoyProcess } from "./envoy-process.ts";
import { chooseAddresses, defaultRouteInterfaces } from "./host-address.ts";
import { openHealthRecord } from "./health-record.ts";
import { holdHostCertificate } from "./host-certificate.ts";
import { readHostFacts } from "./host-facts.ts";
import { loadHostIdentity } from "./host-identity.ts";
import type { HostIdentity } from "./host-identity.ts";
import { createCommandRunner } from "./interception/command-runner.ts";
import { detectBackend } from "./interception/host-facts.ts";
import { openLastKnownGood } from "./last-known-good.ts";
import { watchInboundOwnership } from "./ownership/inbound-ownership.ts";
import type { InboundOwnership } from "./ownership/inbound-ownership.ts";
import { readListening, readSocketCounts } from "./ownership/listening-sockets.ts";
import { lookUpOwner } from "./ownership/socket-owner.ts";
import { assignOutboundPorts } from "./outbound-ports.ts";
import type { OutboundPorts } from "./outbound-ports.ts";
import { startReporter } from "./reporter.ts";
import type { Reporter } from "./reporter.ts";
import { buildWorkloadSecrets, chooseCertificates } from "./secrets.ts";
import type { WorkloadSecret } from "./secrets.ts";
import { prepareStateDir, readStateFile, writeStateFile } from "./state-file.ts";
import { startStatusServer } from "./status-server.ts";
import { wantedCapture } from "./wanted-capture.ts";
import { holdWorkloadCertificates } from "./workload-certificates.ts";
import { checkWorkloadHealth } from "./workload-health.ts";
import { startXdsRelay } from "./xds-relay.ts";
import type { XdsRelay } from "./xds-relay.ts";

export interface AgentOptions {
  readonly logger: Logger;
  readonly version?: string;
  readonly clock?: Clock;
  /** Where IRONMESH_TOKEN and PATH are read from. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** Takes Envoy's access log, a line at a time; standard output unless told. */
  readonly onAccessLog?: (line: string) => void;
}

/** A running agent. */
export interface BoundAgent {
  readonly hostId: string;
  readonly addresses: { readonly status: number; readonly readiness: number; readonly dns: number | undefined };
  /** Ends the agent only: Envoy serves on under its rules, and the next agent adopts it. For upgrades and restarts. */
  close(): Promise<void>;
  /** Says farewell, takes the rules away, lets Envoy finish what it does, ends. */
  leave(): Promise<void>;
}

const FAREWELL_MS = 1_000;
/** sockaddr_un(7). */
const MAX_SOCKET_PATH = 107;

/**
 * Starts every part, in the order in which they need each other. With state on
 * disk nothing here waits for the control plane; only a host that never joined
 * does. A failure ends what runs already.
 */
export async function startAgent(config: AgentConfig, options: AgentOptions): Promise<BoundAgent> {
  const tasks = new TaskGroup();
  try {
    return await compose(config, options, tasks);
  } catch (failure) {
    await tasks.close();
    throw failure;
  }
}

async function compose(config: AgentConfig, options: AgentOptions, tasks: TaskGroup): Promise<BoundAgent> {
  const { logger, clock = systemClock, environment = process.env, version = "0", onAccessLog = (line) => void process.stdout.write(`${line}\n`) } = options;
  const { stateDir, runDir } = config;
  const drainMs = config.envoy.drainSeconds * 1_000;

  // What the host has.
  const isRoot = process.getuid?.() === 0;
  const proxyUser = isRoot ? await lookUpUser(config.envoy.user) : undefined;
  const binary = await findEnvoy(config.envoy.path, environment["PATH"] ?? "");
  await prepareStateDir(stateDir);
  await prepareRunDir(runDir);
  const addresses = await hostAddresses(config, logger);
  const outboundPorts = await loadOutboundPorts(config, logger);

  // Parts that start later; readiness and reports look at them as they come.
  let relay: XdsRelay | undefined;
  let envoy: EnvoyProcess | undefined;
  let capture: CaptureControl | undefined;
  let reporter: Reporter | undefined;
  let identity: HostIdentity | undefined;
  let ownership: InboundOwnership | undefined;
  let missingCertificates: () => readonly string[] = () => [];
  const runner = createCommandRunner();
  const isEnvoyReady = (): boolean => envoy?.status().phase === "ready";
  const openTasks = (): readonly string[] => [
    ...(identity === undefined ? ["join the mesh"] : []),
    ...missingCertificates().map((group) => `certificate of ${group}`),
    ...((relay?.source() ?? "nothing") === "nothing" ? ["configuration"] : []),
    ...[...(reporter?.refusals().keys() ?? [])].map((workload) => `workload ${workload} is refused`),
    ...(reporter?.quarantine() === undefined ? [] : ["quarantine: another agent speaks for this host"]),
    ...(isEnvoyReady() ? [] : ["envoy"]),
    ...(config.capture.mode === "on" && capture?.status().state !== "active" ? ["capture"] : []),
    ...(capture?.status().uncaptured ?? []).map((what) => `capture of ${what}`),
  ];

  // Observability and DNS first: they need nobody, and a host without its mesh still resolves names.
  // Queries may be waiting since the agent before: they are answered by what is on disk, not passed on as unknown.
  const lastKnownGood = keepNamesApart(await openLastKnownGood(stateDir, logger), join(stateDir, NAMES_FOLDER), logger);
  const stored = await lastKnownGood.load();
  const dns = config.dns.mode === "off" ? undefined : tasks.own(await startHostDns({ config, table: stored && knownNames(stored.resources), environment, clock, logger }));
  const status = tasks.own(
    await startStatusServer({
      statusPort: config.ports.status,
      readinessPort: config.ports.readiness,
      openTasks,
      status: () => ({
        hostId: identity?.hostId,
        openTasks: openTasks(),
        configuration: { from: relay?.source(), controlPlane: relay?.upstream().phase, envoyInSync: relay?.isEnvoyInSync(), rejections: relay?.rejections() },
        envoy: envoy?.status(),
        capture: capture?.status(),
        inbound: { withheld: ownership?.withheld(), undetermined: ownership?.undetermined() },
        dns: dns?.counters(),
      }),
      metrics: async () => (await envoy?.admin().get("/stats/prometheus?usedonly").catch(() => "")) + (await agentMetrics({ openTasks: openTasks(), dns: dns?.counters(), restarts: envoy?.status().restarts ?? 0 })),
    }),
  );

  // Who we are.
  const controlPlane = config.controlPlane.address.flatMap((address) => parseHostPort(address, AGENT_DEFAULTS.controlPlanePort) ?? []);
  const joinMesh = (): Promise<HostIdentity> => enrol({ stateDir, controlPlane, hostName: config.hostName, joinTokenFile: config.joinTokenFile, environment, logger });
  identity = (await loadHostIdentity(stateDir, logger)) ?? (await joinUntilDone(joinMesh, logger));
  const { hostId, trustDomain } = identity;
  const link = tasks.own(connectControlPlane(controlPlane, () => hostCertificate.current()));
  const service = agentService(link);
  const hostCertificate = tasks.own(
    holdHostCertificate({
      initial: identity,
      stateDir,
      service,
      rejoin: joinMesh,
      onChange: () => link.reconnect(),
      clock,
      logger,
    }),
  );
  const certificates = tasks.own(
    await holdWorkloadCertificates({
      stateDir,
      groups: config.workloads.map(({ group }) => group),
      identity: () => hostCertificate.current(),
      service,
      clock,
      logger,
      onCertificate: () => relay?.setSecrets(secrets()),
    }),
  );
  const secrets = (): readonly WorkloadSecret[] => [...chooseCertificates(certificates.all()).values()].flatMap(buildWorkloadSecrets);
  missingCertificates = () => certificates.missing();

  // What we are told.
  const healthRecord = tasks.own(await openHealthRecord(runDir, clock, logger));
  const health = tasks.own(
    checkWorkloadHealth({
      contextOf: (workload) => ({
        addresses: ["127.0.0.1", "::1", ...(config.workloads.find((entry) => workloadName(entry) === workload)?.addresses ?? addresses)],
        ...(execUser === undefined ? {} : { execUser }),
      }),
      onChange: () => reporter?.poke(),
      record: healthRecord,
      clock,
      logger,
    }),
  );
  const execUser = config.probes.allowExec ? await lookUpUser(config.probes.execUser) : undefined;
  const takeOwnResources = (): void => {
    const hostConfig = relay?.hostConfig();
    if (relay === undefined || hostConfig === undefined) return;
    dns?.setTable(buildNameTable(relay.nameRecords(), [hostConfig.meshDomain]));
    health.setProbes(hostConfig);
    certificates.expect(new Map(hostConfig.workloads.map(({ group, spiffeId }) => [group, spiffeId])));
    const bundle = relay.trustBundles().find((one) => one.trustDomain === trustDomain);
    if (bundle !== undefined) void hostCertificate.updateRoots(bundle.roots);
    void ownership?.look();
    capture?.poke();
  };
  const owners = tasks.own(
    watchInboundOwnership({
      workloads: config.workloads,
      places: () => relay?.inboundPlaces() ?? [],
      readSockets: () => readListening(),
      readCounts: () => readSocketCounts(),
      lookUpOwner: (socket, bind) => lookUpOwner(socket, bind, runner),
      onChange: () => {
        relay?.withhold(owners.withheld());
        reporter?.poke();
      },
      clock,
      logger,
    }),
  );
  ownership = owners;
  relay = tasks.own(
    await startXdsRelay({
      client: link,
      hostId,
      socketPath: join(runDir, "xds.sock"),
      ...(proxyUser === undefined ? {} : { socketGroup: proxyUser.gid }),
      policy: { inboundPort: config.ports.inbound, outboundRange: config.ports.outboundRange, trustedRoots: config.envoy.trustedRoots, registry: PROTO_REGISTRY },
      secrets: secrets(),
      lastKnownGood,
      stored,
      isEnvoyReady,
      beforeServing: () => owners.look(),
      onOwnChange: takeOwnResources,
      onRejections: () => reporter?.poke(),
      onState: ({ phase, error }) => {
        logger.debug({ phase, reason: error === undefined ? undefined : messageOf(error) }, "the stream from the control plane");
        // Whoever forgot this host is told of it before it is asked for anything.
        if (phase === "syncing") reporter?.poke();
        if (phase !== "synced") return;
        certificates.poke();
        hostCertificate.poke();
      },
      clock,
      logger,
    }),
  );
  takeOwnResources();
  // Certificates may have come while the relay started, and found nobody to give them to.
  relay.setSecrets(secrets());

  // What carries the traffic.
  const running = await startEnvoy({
    binary,
    ...(proxyUser === undefined ? {} : { user: proxyUser }),
    runDir,
    bootstrap: { hostId, trustDomain, locality: parseLocality(config.locality), xdsSocketPath: join(runDir, "xds.sock"), maxConnections: config.envoy.maxConnections },
    concurrency: config.envoy.concurrency ?? Math.max(2, availableParallelism()),
    logLevel: config.envoy.logLevel,
    drainMs,
    logger: logger.child({ component: "envoy" }),
    onAccessLog,
    onChange: () => {
      reporter?.poke();
      capture?.poke();
    },
  });
  envoy = running;
  tasks.defer(() => running.release());

  // What the others are told.
  let isLeaving = false;
  const report = async (): Promise<ReportRequest> =>
    buildReport({
      config,
      agentVersion: version,
      envoyVersion: binary.version,
      addresses,
      outboundPorts,
      healthOf: (workload) => {
        const mismatch = owners.mismatchOf(workload);
        return mismatch === undefined ? health.get(workload) : { state: "unhealthy", detail: mismatch };
      },
      isEnvoyReady: isEnvoyReady(),
      isLeaving,
      rejections: relay?.rejections() ?? [],
      facts: await readHostFacts({ addresses, locality: config.locality, capture: capture?.status().state ?? "off", nowMs: clock.now() }),
    });
  const reports = tasks.own(startReporter({ report, service, heartbeatMs: AGENT_DEFAULTS.heartbeatSeconds * 1_000, clock, logger }));
  reporter = reports;

  // What is taken through Envoy: last, when there is something to take it.
  if (config.capture.mode === "on") {
    const controlGroups = tasks.own(watchControlGroups(CGROUP_ROOTS, () => capture?.poke()));
    capture = tasks.own(
      startCaptureControl({
        target: { runner, backend: config.capture.backend === "auto" ? await detectBackend(runner) : config.capture.backend, reverter: "process", recordPath: join(stateDir, "capture.json") },
        wanted: () => wantedCapture({ config, relay, envoy: isEnvoyReady() ? running.admin() : undefined, outboundPorts, proxyUser, dnsPort: dns?.port ?? 0, managementPorts: [status.statusPort, status.readinessPort], follow: controlGroups.follow }),
        confirm: async () => {
          if (!isEnvoyReady()) return false;
          if (relay?.upstream().phase !== "synced") return true;
          // Over a new connection: the rules of the moment decide about it.
          link.reconnect();
          await reports.send();
          return true;
        },
        drainMs,
        clock,
        logger,
        onChange: () => reports.poke(),
      }),
    );
  }
  return {
    hostId,
    addresses: { status: status.statusPort, readiness: status.readinessPort, dns: dns?.port },
    async close() {
      // Nobody would read them.
      if (dns?.isHandedOn === false) await capture?.releaseNames().catch((failure: unknown) => logger.error({ reason: messageOf(failure) }, "name queries of the workloads stay captured, and nobody answers them"));
      await tasks.close();
    },
    async leave() {
      isLeaving = true;
      // A host that said farewell is told that it has nothing; Envoy serves what is captured until the rules are gone.
      await relay.unfollow();
      await reports.close();
      await Promise.race([reports.send(), sleep(FAREWELL_MS, undefined, { ref: false })]).catch((failure: unknown) => logger.warn({ reason: messageOf(failure) }, "the control plane could not be told that this host leaves"));
      await capture?.remove();
      await running.close();
      await tasks.close();
    },
  };
}

async function prepareRunDir(runDir: string): Promise<void> {
  await mkdir(runDir, { recursive: true, mode: 0o755 });
  const longest = join(runDir, "envoy", "admin-999999.sock");
  if (longest.length > MAX_SOCKET_PATH) throw new CodedError("MESH_RUN_DIR_UNUSABLE", `the path of runDir is too long for sockets: ${runDir}`, { facts: { longest }, hint: `at most ${MAX_SOCKET_PATH - (longest.length - runDir.length)} characters` });
}

/** Only a host that never joined waits here, for as long as it takes: a crash loop would not bring the token any sooner. */
async function joinUntilDone(join: () => Promise<HostIdentity>, logger: Logger): Promise<HostIdentity> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await join();
    } catch (failure) {
      const delayMs = backoffDelay({ baseMs: 500, maxMs: 30_000 }, attempt);
      logger.error({ reason: messageOf(failure), hint: failure instanceof CodedError ? failure.hint : undefined, retryInMs: delayMs }, "this host could not join the mesh");
      await sleep(delayMs);
    }
  }
}

async function hostAddresses(config: AgentConfig, logger: Logger): Promise<readonly string[]> {
  const { addresses, reasons } = chooseAddresses(networkInterfaces(), await defaultRouteInterfaces(), config.addresses);
  if (addresses.length === 0) logger.warn({ wanted: config.addresses }, "this host has no address that others could reach it at");
  else logger.info({ reasons }, "other hosts reach this one at");
  return addresses;
}

async function loadOutboundPorts(config: AgentConfig, logger: Logger): Promise<OutboundPorts> {
  const path = join(config.stateDir, "outbound-ports.json");
  const before = await readStateFile(path, (content) => content as OutboundPorts, logger);
  const ports = assignOutboundPorts(config.workloads.map(workloadName), before ?? {}, config.ports.outboundRange);
  if (JSON.stringify(ports) !== JSON.stringify(before)) await writeStateFile(path, ports);
  return ports;
}
