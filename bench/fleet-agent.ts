import { create, fromBinary } from "@bufbuild/protobuf";
import { agentService } from "../agent/agent-service.ts";
import { buildReport } from "../agent/build-report.ts";
import { AGENT_DEFAULTS, type AgentConfig, parseAgentConfig } from "../agent/config.ts";
import { connectControlPlane } from "../agent/control-plane-link.ts";
import { enrol } from "../agent/enrol.ts";
import { holdHostCertificate } from "../agent/host-certificate.ts";
import type { HostIdentity } from "../agent/host-identity.ts";
import { startReporter } from "../agent/reporter.ts";
import { OWN_TYPES, RELAYED_TYPES } from "../agent/resource-guard.ts";
import { prepareStateDir } from "../agent/state-file.ts";
import { holdWorkloadCertificates } from "../agent/workload-certificates.ts";
import { backoffDelay } from "../base/backoff.ts";
import { type Clock, systemClock } from "../base/clock.ts";
import type { ClientStream, GrpcClient } from "../base/grpc/client.ts";
import type { Logger } from "../base/logger.ts";
import { ClusterLoadAssignmentSchema } from "../proto/gen/envoy/config/endpoint/v3/endpoint_pb.js";
import { HealthStatus } from "../proto/gen/envoy/config/core/v3/health_check_pb.js";
import { HostFactsSchema } from "../proto/gen/ironmesh/agent/v1/agent_pb.js";
import { startDeltaClient } from "../xds/delta-client.ts";
import { createResourceSet, type ResourceSet } from "../xds/resource-set.ts";
import type { Resource } from "../xds/resource.ts";
import { TYPE_URLS } from "../xds/type-urls.ts";
import { setTimeout as sleep } from "node:timers/promises";
import { groupOf, hostAddress, isOfHosts } from "./fleet-content.ts";

/** What the agents of one process count together. */
export interface FleetCounts {
  joinAttempts: number;
  renewed: number;
  streams: number;
  receivedBytes: number;
  sentBytes: number;
  /** Warnings and errors, by their words. */
  readonly complaints: Record<string, number>;
}

export interface FleetAgentOptions {
  readonly index: number;
  readonly port: number;
  readonly token: string;
  readonly stateDir: string;
  readonly counts: FleetCounts;
  readonly onJoined: () => void;
  readonly onSynced: () => void;
  readonly onResource: (resource: Pick<Resource, "typeUrl" | "name" | "version">) => void;
}

/** An agent without Envoy, rules and probes: all that it says to the control plane, by the modules that say it. */
export interface FleetAgent {
  isSynced(): boolean;
  /** Streams since the count was set back. */
  streams: number;
  /** Its certificate is due now. */
  renew(): void;
  /** Endpoints that serve, of the hosts' services, as this host's Envoy would have them. */
  servingEndpoints(): number;
  close(): Promise<void>;
}

const TYPES = [...OWN_TYPES, ...RELAYED_TYPES];
const NOTHING = new Uint8Array();
const DUE_MS = 20 * 86_400_000;

/** Thousands of agents hold the same: each resource is kept once, and only what somebody reads of it. */
const pool = new Map<string, Resource>();
function pooled(resource: Resource): Resource {
  const key = `${resource.typeUrl} ${resource.name} ${resource.version}`;
  const known = pool.get(key);
  if (known !== undefined) return known;
  const bytes = resource.typeUrl === TYPE_URLS.clusterLoadAssignment && isOfHosts(resource.name) ? Uint8Array.from(resource.bytes) : NOTHING;
  const kept = { ...resource, bytes, encoded: NOTHING };
  pool.set(key, kept);
  return kept;
}

function pooledSet(onResource: FleetAgentOptions["onResource"]): ResourceSet {
  const set = createResourceSet();
  return {
    ...set,
    update: (work) =>
      set.update((transaction) =>
        work({
          ...transaction,
          upsert(resource) {
            transaction.upsert(pooled(resource));
            onResource(resource);
          },
        }),
      ),
  };
}

function counting(client: GrpcClient, counts: FleetCounts): GrpcClient {
  return {
    ...client,
    async stream(path, options): Promise<ClientStream> {
      const stream = await client.stream(path, options);
      const { messages } = stream;
      const counted = async function* (): AsyncGenerator<Uint8Array> {
        for await (const message of messages) {
          counts.receivedBytes += message.length;
          yield message;
        }
      };
      return {
        ...stream,
        messages: { ...messages, [Symbol.asyncIterator]: counted },
        write(message) {
          counts.sentBytes += message instanceof Uint8Array ? message.length : 0;
          return stream.write(message);
        },
      };
    },
  };
}

function configOf(index: number, port: number): AgentConfig {
  const parsed = parseAgentConfig(`hostName: bench-${index}\ncontrolPlane: { address: "127.0.0.1:${port}" }\naddresses: [${hostAddress(index)}]\nworkloads: [{ group: default/${groupOf(index)}, bind: { ports: [8080] } }]\n`, "agent.yaml");
  if (!parsed.ok) throw new Error(parsed.error.map(({ message }) => message).join("; "));
  return parsed.value;
}

export async function startFleetAgent(options: FleetAgentOptions): Promise<FleetAgent> {
  const { index, port, token, stateDir, counts, onJoined, onSynced, onResource } = options;
  const complain = (facts: unknown, message?: string): void => {
    const words = message ?? String(facts);
    const reason = (facts as { reason?: unknown }).reason;
    const key = typeof reason === "string" ? `${words}: ${reason.replaceAll(/host-\S+/gu, "…").replaceAll(/[0-9]+/gu, "#").slice(0, 100)}` : words;
    counts.complaints[key] = (counts.complaints[key] ?? 0) + 1;
  };
  const logger: Logger = { debug() {}, info() {}, warn: complain, error: complain, child: () => logger };
  const config = configOf(index, port);
  await prepareStateDir(stateDir);
  const join = (): Promise<HostIdentity> => {
    counts.joinAttempts += 1;
    return enrol({ stateDir, controlPlane: [{ host: "127.0.0.1", port }], hostName: config.hostName, environment: { [AGENT_DEFAULTS.tokenVariable]: token }, logger });
  };
  const identity = await untilDone(join, complain);
  onJoined();

  let aheadMs = 0;
  const ahead: Clock = { ...systemClock, now: () => systemClock.now() + aheadMs };
  const link = counting(connectControlPlane([{ host: "127.0.0.1", port }], () => certificate.current()), counts);
  const service = agentService(link);
  const certificate = holdHostCertificate({
    initial: identity,
    stateDir,
    service,
    rejoin: join,
    onChange() {
      aheadMs = 0;
      counts.renewed += 1;
      link.reconnect();
    },
    clock: ahead,
    logger,
  });
  const workloads = await holdWorkloadCertificates({ stateDir, groups: config.workloads.map(({ group }) => group), identity: () => certificate.current(), service, clock: systemClock, logger, onCertificate() {} });
  const facts = create(HostFactsSchema, { os: "Debian GNU/Linux 12", kernel: "6.1.0", architecture: "x86_64", cpus: 4, memoryBytes: 8_000_000_000n, addresses: [hostAddress(index)], capture: "active" });
  const reporter = startReporter({
    report: async () =>
      buildReport({ config, agentVersion: "1", envoyVersion: "1.40.0", addresses: [hostAddress(index)], outboundPorts: { [groupOf(index)]: 15_100 }, healthOf: () => ({ state: "healthy", detail: "" }), isEnvoyReady: true, isLeaving: false, rejections: [], facts }),
    service,
    heartbeatMs: AGENT_DEFAULTS.heartbeatSeconds * 1_000,
    clock: systemClock,
    logger,
  });
  const set = pooledSet(onResource);
  const client = startDeltaClient({
    client: link,
    node: () => ({ id: `host~${identity.hostId}`, cluster: "ironmesh-agent" }),
    types: TYPES,
    set,
    anchor: { typeUrl: TYPE_URLS.hostConfig, name: identity.hostId },
    onState({ phase, error }) {
      if (phase === "waiting" && error !== undefined) complain({ reason: error.message }, "the stream ended");
      if (phase === "syncing") {
        agent.streams += 1;
        counts.streams += 1;
        reporter.poke();
      }
      if (phase !== "synced") return;
      workloads.poke();
      certificate.poke();
      onSynced();
    },
  });
  const agent: FleetAgent = {
    isSynced: () => client.state().phase === "synced",
    streams: 0,
    renew() {
      aheadMs = DUE_MS;
      certificate.poke();
    },
    servingEndpoints() {
      let count = 0;
      for (const { name, bytes } of set.list(TYPE_URLS.clusterLoadAssignment)) {
        if (!isOfHosts(name)) continue;
        for (const { lbEndpoints } of fromBinary(ClusterLoadAssignmentSchema, bytes).endpoints) count += lbEndpoints.filter(({ healthStatus }) => healthStatus !== HealthStatus.UNHEALTHY).length;
      }
      return count;
    },
    async close() {
      for (const part of [client, reporter, workloads, certificate, link]) await part.close();
    },
  };
  return agent;
}

/** As an agent does it. */
async function untilDone(join: () => Promise<HostIdentity>, complain: (facts: unknown, message: string) => void): Promise<HostIdentity> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await join();
    } catch (failure) {
      complain({ reason: String(failure) }, "this host could not join");
      await sleep(backoffDelay({ baseMs: 500, maxMs: 30_000 }, attempt));
    }
  }
}
