import { create, toBinary } from "@bufbuild/protobuf";
import type { ResourceKey } from "../../api/resource.ts";
import type { Clock } from "../../base/clock.ts";
import { CodedError, messageOf } from "../../base/coded-error.ts";
import type { GrpcHandler, Peer, UnaryHandler } from "../../base/grpc/call.ts";
import { type BoundGrpcServer, serveGrpc, type ServerTls } from "../../base/grpc/server.ts";
import { createListeningClock } from "../../base/listening-clock.ts";
import type { Logger } from "../../base/logger.ts";
import { encodePem } from "../../base/x509/pem.ts";
import type { HostCaller } from "../../ca/grant.ts";
import { authorityHandlers, JOIN_PATH, refusalStatus } from "../../ca/rpc.ts";
import type { CertificateAuthority } from "../../ca/service.ts";
import type { Push } from "../../discovery/push/push.ts";
import type { AgentsRegistry } from "../../discovery/registry/agents/registry.ts";
import { type EnvoyRejection, REPORT_PATH, reportHandler } from "../../discovery/report-rpc.ts";
import { TrustBundleSchema } from "../../proto/gen/ironmesh/agent/v1/agent_pb.js";
import type { Cause } from "./causes.ts";
import { createDeltaServer, DELTA_ADS_PATH, type DeltaServer, MAX_DELTA_REQUEST_BYTES } from "../../xds/delta-server.ts";
import { createResource } from "../../xds/resource.ts";
import type { Nack } from "../../xds/subscription.ts";
import { TYPE_URLS } from "../../xds/type-urls.ts";
import { firstReport } from "./first-report.ts";
import { createHostSessions, type HostSessions, sessionOf } from "./host-sessions.ts";

/** A host that lost its power says nothing: a ping without an answer until the next ends its stream. */
const KEEPALIVE_MS = 3_000;

/** Where a change of what a host may be is told, and what is known of it without the store. */
export interface GrantChanges {
  knows(caller: HostCaller): boolean;
  subscribe(listener: (hostId: string) => void): void;
}

interface AgentPortOptions {
  readonly listen: readonly { readonly host: string; readonly port: number }[];
  readonly authority: CertificateAuthority;
  /** After each, the host's streams are judged again. */
  readonly grants: GrantChanges;
  readonly hosts: AgentsRegistry;
  readonly push: Push;
  readonly locate: (keys: readonly ResourceKey[]) => readonly Cause[];
  readonly onNack: (hostId: string, nack: Nack) => void;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** The port of the agents (15012): enrolment, certificates, reports and delta ADS, over mutual TLS. */
export interface AgentPort {
  readonly addresses: readonly BoundGrpcServer["address"][];
  readonly streams: DeltaServer["streams"];
  /** Which host is behind a stream. */
  hostOf(streamId: number): string | undefined;
  /** What a host's Envoy refuses, as its agent said last. */
  rejectionsOf(hostId: string): readonly EnvoyRejection[];
  /** Agents that speak for a host beside the one that lives. */
  readonly turnedAway: HostSessions["turnedAway"];
  /** Shows agents a new certificate from now on. */
  renewCertificate(): Promise<void>;
  close(): Promise<void>;
}

/** An open stream, and the one who may end it. */
interface HostStream {
  readonly caller: HostCaller;
  readonly end: (reason: Error) => void;
}

export async function openAgentPort(options: AgentPortOptions): Promise<AgentPort> {
  const { listen, authority, grants, hosts, push, locate, onNack, clock, logger } = options;
  const streams = new Map<number, HostStream>();
  const rejections = new Map<string, readonly EnvoyRejection[]>();
  const onRejections = (hostId: string, refused: readonly EnvoyRejection[]): void => {
    for (const { typeUrl, name, message } of refused) {
      if (rejections.get(hostId)?.some((known) => known.name === name && known.message === message) === true) continue;
      logger.warn({ hostId, typeUrl, name, causes: locate(push.causesOf(hostId, typeUrl, name)), message }, "an envoy rejected a resource");
    }
    if (refused.length === 0) rejections.delete(hostId);
    else rejections.set(hostId, refused);
  };

  const orRefuse = async <T>(answer: Promise<T>): Promise<T> => {
    try {
      return await answer;
    } catch (failure) {
      throw refusalStatus(failure);
    }
  };
  const identify = (peer: Peer): Promise<HostCaller> => orRefuse(authority.identify(peer));
  const authorize = async (caller: HostCaller): Promise<void> => void (await orRefuse(authority.authorize(caller)));
  const authorizePeer = async (peer: Peer): Promise<void> => authorize(await identify(peer));
  /** A host reports every few seconds, and may do no more by it than its grant as it is followed says: the store is asked about those alone of whom that does not speak plainly. */
  const reporterOf = async (peer: Peer): Promise<HostCaller> => {
    const caller = await identify(peer);
    if (!grants.knows(caller)) await authorize(caller);
    return caller;
  };
  const isOfHost = async (caller: HostCaller): Promise<boolean> => {
    try {
      await authority.recheck(caller);
      return true;
    } catch (failure) {
      if (failure instanceof CodedError && failure.code.startsWith("MESH_HOST_")) return false;
      throw refusalStatus(failure);
    }
  };
  // What hosts say while nobody here listens is no silence of theirs.
  const listening = createListeningClock(clock);
  const sessions = createHostSessions({
    clock: listening,
    logger,
    onRefused: ({ hostId, peer }, failure) => void authority.noteRefused(hostId, peer.remoteAddress, failure).catch((reason: unknown) => logger.error({ reason: messageOf(reason) }, "a refusal is not in the journal")),
  });
  /** What one agent of a host alone may ask for. */
  const ofOneSession = (handler: UnaryHandler): UnaryHandler => ({
    ...handler,
    async handle(bytes, call) {
      const caller = await identify(call.peer);
      const ofSession = { hostId: caller.hostId, session: sessionOf(call.metadata), peer: call.peer };
      // Whoever may not speak for the host at all, as under an old key, hears that of the call itself, and no agent is asked because of him.
      if (sessions.isContested(ofSession) && (await isOfHost(caller))) await orRefuse(sessions.check(ofSession));
      return handler.handle(bytes, call);
    },
  });
  grants.subscribe((hostId) => {
    for (const { caller, end } of streams.values()) if (caller.hostId === hostId) orRefuse(authority.recheck(caller)).catch(end);
  });
  const delta = createDeltaServer({
    async onOpen(peer, _node, { id, metadata, end, signal }) {
      const caller = await identify(peer);
      const { hostId } = caller;
      // Before it is judged: a revocation at this moment is seen by one of both.
      streams.set(id, { caller, end });
      let endSession: () => void;
      try {
        await authorize(caller);
        endSession = await orRefuse(sessions.open({ hostId, session: sessionOf(metadata), peer }, end));
      } catch (refusal) {
        streams.delete(id);
        throw refusal;
      }
      const leave = hosts.connected(hostId);
      logger.info({ hostId, peer: peer.remoteAddress }, "an agent's stream opened");
      const onClose = (): void => {
        leave();
        endSession();
        streams.delete(id);
        logger.info({ hostId }, "an agent's stream ended");
      };
      const own = push.setOf(hostId);
      try {
        await firstReport(own, hostId, { clock: listening, signal });
      } catch (failure) {
        onClose();
        throw failure;
      }
      return { sets: [own, push.shared], marksCompleteness: true, onNack: (nack) => onNack(hostId, nack), onClose };
    },
  });
  const handlers: Record<string, GrpcHandler> = {
    ...Object.fromEntries(Object.entries(authorityHandlers(authority)).map(([path, handler]) => [path, path === JOIN_PATH ? handler : ofOneSession(handler)])),
    [REPORT_PATH]: ofOneSession(reportHandler({ hosts, hostIdOf: async (peer) => (await reporterOf(peer)).hostId, onRejections })),
    [DELTA_ADS_PATH]: { ...delta.handler, authorize: authorizePeer, maxMessageBytes: MAX_DELTA_REQUEST_BYTES },
  };
  const servers: BoundGrpcServer[] = [];
  let tls = await serverTls(authority);
  const limits = { keepaliveMs: KEEPALIVE_MS };
  for (const address of listen) servers.push(await serveGrpc({ listen: address, tls, handlers, limits, logger, onUnverifiedPeer: (peer) => void authority.noteUnverified(peer) }));
  return {
    addresses: servers.map((server) => server.address),
    streams: () => delta.streams(),
    turnedAway: (hostId) => sessions.turnedAway(hostId),
    rejectionsOf: (hostId) => rejections.get(hostId) ?? [],
    hostOf: (streamId) => streams.get(streamId)?.caller.hostId,
    async renewCertificate() {
      tls = await serverTls(authority);
      for (const server of servers) server.setSecureContext(tls);
    },
    async close() {
      await Promise.all(servers.map((server) => server.close()));
      await listening.close();
    },
  };
}

async function serverTls(authority: CertificateAuthority): Promise<ServerTls> {
  const [certificate, bundle] = [await authority.controlPlaneCertificate(), await authority.trustBundle()];
  return {
    certificateChain: certificate.chain.map((der) => encodePem("CERTIFICATE", der)).join(""),
    privateKey: certificate.privateKeyPem,
    clientRoots: bundle.roots.map((der) => encodePem("CERTIFICATE", der)),
    clientCertificate: "optional",
  };
}

/** Gives agents the roots to trust, as a resource of its own beside what Envoy is told. */
export function shareTrustBundle(push: Push, bundle: { readonly trustDomain: string; readonly roots: readonly Uint8Array[] }): void {
  const bytes = toBinary(TrustBundleSchema, create(TrustBundleSchema, { trustDomain: bundle.trustDomain, roots: [...bundle.roots] }));
  push.shared.update((transaction) => transaction.upsert(createResource(TYPE_URLS.trustBundle, bundle.trustDomain, bytes)));
}

