import { chown, rm } from "node:fs/promises";

import { fromBinary } from "@bufbuild/protobuf";

import type { Clock } from "../base/clock.ts";
import type { GrpcClient } from "../base/grpc/client.ts";
import { serveGrpc } from "../base/grpc/server.ts";
import type { Logger } from "../base/logger.ts";
import { TaskGroup } from "../base/task-group.ts";
import type { Closable } from "../base/task-group.ts";
import type { Node } from "../proto/gen/envoy/config/core/v3/base_pb.js";
import { HostConfigSchema, NameRecordSchema, TrustBundleSchema } from "../proto/gen/ironmesh/agent/v1/agent_pb.js";
import type { HostConfig, NameRecord, TrustBundle } from "../proto/gen/ironmesh/agent/v1/agent_pb.js";
import { startDeltaClient } from "../xds/delta-client.ts";
import type { DeltaClientState } from "../xds/delta-client.ts";
import { createDeltaServer, DELTA_ADS_PATH, MAX_DELTA_REQUEST_BYTES } from "../xds/delta-server.ts";
import type { StreamStatus } from "../xds/stream-server.ts";
import { createResource } from "../xds/resource.ts";
import type { Resource } from "../xds/resource.ts";
import { createResourceSet } from "../xds/resource-set.ts";
import { TYPE_URLS } from "../xds/type-urls.ts";
import { keepGoodConfiguration } from "./good-configuration.ts";
import type { Generation, LastKnownGood } from "./last-known-good.ts";
import { inboundPlaces, ownVersion, withholdPlaces } from "./ownership/inbound-places.ts";
import type { InboundPlace } from "./ownership/inbound-places.ts";
import { OWN_TYPES, refuseResource, RELAYED_TYPES } from "./resource-guard.ts";
import type { GuardPolicy } from "./resource-guard.ts";
import type { WorkloadSecret } from "./secrets.ts";
import { createStandIns } from "./stand-ins.ts";
import type { EnvoyRejection } from "./stand-ins.ts";

export interface RelayOptions {
  readonly client: GrpcClient;
  readonly hostId: string;
  readonly socketPath: string;
  /** Envoy's group, which may open the socket; absent where Envoy is the agent's own user. */
  readonly socketGroup?: number;
  readonly policy: GuardPolicy;
  /** What the host's workloads have from the start: an Envoy that is adopted must not see its secrets vanish. */
  readonly secrets: readonly WorkloadSecret[];
  readonly lastKnownGood: LastKnownGood;
  /** What was on disk. */
  readonly stored: Generation | undefined;
  /** True while Envoy serves. */
  readonly isEnvoyReady: () => boolean;
  /** Envoy is told nothing before. */
  readonly beforeServing: () => Promise<void>;
  /** Something changed in what the agent itself consumes. */
  readonly onOwnChange: () => void;
  readonly onState: (state: DeltaClientState) => void;
  /** Envoy refuses something else than before, or nothing any more. */
  readonly onRejections: () => void;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Stands between the control plane and Envoy; closed by its owner. Closing leaves Envoy with what it has. */
export interface XdsRelay extends Closable {
  readonly upstream: () => DeltaClientState;
  /** Where the configuration in force came from. */
  readonly source: () => "nothing" | "disk" | "control-plane";
  readonly envoy: () => StreamStatus | undefined;
  /** Envoy has answered to everything that it was told; it may have refused some of it, and has what it took before. */
  readonly isEnvoyInSync: () => boolean;
  readonly rejections: () => readonly EnvoyRejection[];
  readonly hostConfig: () => HostConfig | undefined;
  readonly nameRecords: () => readonly NameRecord[];
  readonly trustBundles: () => readonly TrustBundle[];
  setSecrets(secrets: readonly WorkloadSecret[]): void;
  /** What the control plane has Envoy hand on to workloads, withheld or not. */
  readonly inboundPlaces: () => readonly InboundPlace[];
  /** Envoy serves everything but these, also in what the control plane says later. What is kept on disk stays whole. */
  withhold(places: readonly InboundPlace[]): void;
  /** Ends the stream from the control plane: Envoy keeps what it has. */
  unfollow(): Promise<void>;
}

/**
 * Envoy waits this long for the control plane's word before it gets what is on
 * disk: an adopted one may have newer resources than the disk, and one that is
 * told of nothing at all would drop what it serves with.
 */
const FRESHER_WITHIN_MS = 3_000;

/** An Envoy is near, and takes the good part of a refused response: what is counted as refused without need would be put back to what it was. */
const MAX_RETRY_BATCHES = 1_024;

/** Every Envoy asks for these, and then for what they refer to. */
const ASKED_FIRST = [TYPE_URLS.cluster, TYPE_URLS.listener];

const WITHHELD_TYPES = [TYPE_URLS.cluster, TYPE_URLS.listener];

/**
 * Keeps a checked copy of everything the control plane has for this host,
 * serves it to Envoy, and puts it on disk once Envoy was seen to be well with
 * it. With no control plane it starts from that disk.
 */
export async function startXdsRelay(options: RelayOptions): Promise<XdsRelay> {
  const { client, hostId, socketPath, policy, lastKnownGood, clock, logger, onOwnChange } = options;
  const tasks = new TaskGroup();
  const resources = createResourceSet();
  const secrets = createResourceSet();
  /** Stand before the control plane's of the same name. */
  const instead = createResourceSet();
  let withheld: readonly InboundPlace[] = [];
  /** Asked for all the time, and long to read. */
  let places: { readonly digest: string; readonly all: readonly InboundPlace[] } | undefined;
  const types = [...OWN_TYPES, ...RELAYED_TYPES];
  const stored = options.stored && allowed(options.stored, policy, logger);
  const standIns = createStandIns(resources, types, stored?.resources ?? []);
  const { inForce } = standIns;
  let source: ReturnType<XdsRelay["source"]> = "nothing";

  if (stored !== undefined) {
    source = "disk";
    resources.update((transaction) => {
      for (const resource of stored.resources) transaction.upsert(resource);
    });
    logger.info({ generation: stored.number, resources: stored.resources.length, savedAt: new Date(stored.savedAtMs).toISOString() }, "starting from the last known good configuration");
  }

  const setSecrets = (next: readonly WorkloadSecret[]): void => {
    secrets.update((transaction) => {
      transaction.replaceAll(TYPE_URLS.secret, next.map(({ name, bytes }) => createResource(TYPE_URLS.secret, name, bytes.reveal())));
    });
  };
  setSecrets(options.secrets);
  const replaceWithheld = (): void => {
    const replaced = withholdPlaces(inForce, policy.inboundPort, withheld);
    instead.update((transaction) => {
      for (const type of WITHHELD_TYPES) transaction.replaceAll(type, replaced.filter(({ typeUrl }) => typeUrl === type));
    });
  };
  // Before any stream watches: what a stream is told of a change has these in it.
  tasks.defer(
    inForce.watch((changes) => {
      if (WITHHELD_TYPES.some((type) => changes.has(type))) replaceWithheld();
    }),
  );
  let refusedBefore = "";
  const lookAtRejections = (): void => {
    const refused = JSON.stringify(rejections());
    if (refused === refusedBefore) return;
    refusedBefore = refused;
    options.onRejections();
  };
  const gate = Promise.withResolvers<void>();
  if (stored !== undefined) tasks.defer(clock.after(FRESHER_WITHIN_MS, gate.resolve));
  /** Streams of Envoys, the newest last. */
  const open = new Set<number>();
  const server = createDeltaServer({
    clock,
    maxRetryBatches: MAX_RETRY_BATCHES,
    onOpen: async (_peer, node, { id }) => {
      await gate.promise;
      await options.beforeServing();
      open.add(id);
      standIns.opened(buildOf(node));
      // Where one of another release starts while the one before serves, each is told what the newer one takes; the other keeps what it has.
      const isNewest = (): boolean => [...open].at(-1) === id;
      return {
        // The host's own secrets win over anything of their name from elsewhere.
        sets: [secrets, instead, inForce],
        onNack: (nack) => {
          const { typeUrl, message, resources: refused, isFinal } = nack;
          if (isNewest()) standIns.refused(nack);
          logger[isFinal ? "error" : "debug"]({ typeUrl, resources: refused.map(({ name }) => name).slice(0, 10) }, `envoy refuses its configuration: ${message}`);
          lookAtRejections();
        },
        onAck: (ack) => {
          if (isNewest()) standIns.acknowledged(ack);
          lookAtRejections();
        },
        onClose() {
          open.delete(id);
          if (open.size === 0) standIns.closed();
        },
      };
    },
  });
  await rm(socketPath, { force: true });
  tasks.own(
    await serveGrpc({
      listen: { path: socketPath, mode: options.socketGroup === undefined ? 0o600 : 0o660 },
      handlers: { [DELTA_ADS_PATH]: { ...server.handler, maxMessageBytes: MAX_DELTA_REQUEST_BYTES } },
      // Envoy speaks on one stream that is silent for days.
      limits: { idleTimeoutMs: 2 ** 31 - 1 },
      logger,
    }),
  );
  if (options.socketGroup !== undefined) await chown(socketPath, process.getuid?.() ?? 0, options.socketGroup);

  // To everybody else, what Envoy says of a resource from which something is withheld is said of the resource.
  const envoy = (): StreamStatus | undefined => {
    const stream = server.streams().at(-1);
    return stream && { ...stream, types: stream.types.map((type) => ({ ...type, rejected: type.rejected.map((one) => ({ ...one, version: ownVersion(one.version) })) })) };
  };
  const rejections = (): readonly EnvoyRejection[] => {
    const known = standIns.rejections();
    const names = new Set(known.map(({ typeUrl, name }) => `${typeUrl} ${name}`));
    // What the agent made itself has nothing to stand in for it.
    const others = (envoy()?.types ?? []).flatMap(({ typeUrl, rejected }) => rejected.map((one) => ({ typeUrl, ...one })));
    return [...known, ...others.filter(({ typeUrl, name }) => !names.has(`${typeUrl} ${name}`))];
  };
  const isEnvoyInSync = (): boolean => {
    const stream = envoy();
    return stream !== undefined && stream.types.length > 0 && stream.types.every(({ isSettled }) => isSettled);
  };
  const hostConfigResource = (): Resource | undefined => resources.get(TYPE_URLS.hostConfig, hostId);
  tasks.own(
    keepGoodConfiguration({
      lastKnownGood,
      isFirst: stored === undefined,
      standIns,
      envoy: () => envoy()?.types ?? [],
      // An Envoy that starts has answered before it has asked for everything; there may be another one that serves.
      isSettled: () => options.isEnvoyReady() && isEnvoyInSync() && ASKED_FIRST.every((type) => envoy()?.types.some(({ typeUrl }) => typeUrl === type)),
      isWorthKeeping: () => source === "control-plane" && hostConfigResource() !== undefined,
      clock,
      logger,
    }),
  );

  tasks.defer(
    resources.watch((changes) => {
      if (OWN_TYPES.some((type) => changes.has(type))) onOwnChange();
    }),
  );
  const upstream = tasks.own(
    startDeltaClient({
      client,
      node: () => ({ id: `host~${hostId}`, cluster: "ironmesh-agent" }),
      types,
      set: resources,
      // A control plane that does not know this host (yet) has nothing for it, and that is no reason to serve nothing.
      anchor: { typeUrl: TYPE_URLS.hostConfig, name: hostId },
      clock,
      accept(update) {
        for (const resource of update.resources) {
          const reason = refuseResource(resource, policy);
          if (reason === undefined) continue;
          logger.error({ typeUrl: update.typeUrl, name: resource.name }, `refused from the control plane: ${reason}`);
          return reason;
        }
        return undefined;
      },
      onState(state) {
        if (state.phase === "synced") source = "control-plane";
        if (state.phase === "synced" || (state.phase === "waiting" && source === "disk")) gate.resolve();
        options.onState(state);
      },
    }),
  );

  return {
    upstream: () => upstream.state(),
    source: () => source,
    envoy,
    isEnvoyInSync,
    rejections,
    hostConfig() {
      const resource = hostConfigResource();
      return resource === undefined ? undefined : fromBinary(HostConfigSchema, resource.bytes);
    },
    nameRecords: () => [...resources.list(TYPE_URLS.nameRecord)].map(({ bytes }) => fromBinary(NameRecordSchema, bytes)),
    trustBundles: () => [...resources.list(TYPE_URLS.trustBundle)].map(({ bytes }) => fromBinary(TrustBundleSchema, bytes)),
    setSecrets,
    inboundPlaces() {
      const digest = inForce.digest(TYPE_URLS.listener);
      if (places?.digest !== digest) places = { digest, all: inboundPlaces(inForce, policy.inboundPort) };
      return places.all;
    },
    withhold(places) {
      withheld = places;
      replaceWithheld();
    },
    unfollow: () => upstream.close(),
    close: () => tasks.close(),
  };
}

/** What the agent wrote down may hold what its file has come to forbid: the control plane is asked for that anew, and refused. */
function allowed(stored: Generation, policy: GuardPolicy, logger: Logger): Generation {
  const resources = stored.resources.filter((resource) => {
    const reason = refuseResource(resource, policy);
    if (reason !== undefined) logger.error({ typeUrl: resource.typeUrl, name: resource.name }, `refused from the disk: ${reason}`);
    return reason === undefined;
  });
  return { ...stored, resources };
}

/** The release that an Envoy says it is. */
function buildOf(node: Node | undefined): string {
  const version = node?.userAgentVersionType;
  if (version?.case !== "userAgentBuildVersion") return version?.value ?? "";
  const { majorNumber, minorNumber, patch } = version.value.version ?? {};
  return [majorNumber, minorNumber, patch].join(".");
}
