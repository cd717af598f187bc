import { toBinary } from "@bufbuild/protobuf";

import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/coded-error.ts";
import { contentHash } from "../base/content-hash.ts";
import { GrpcError } from "../base/grpc/status.ts";
import type { Logger } from "../base/logger.ts";
import type { Closable } from "../base/task-group.ts";
import { ReportRequestSchema } from "../proto/gen/ironmesh/agent/v1/agent_pb.js";
import type { ReportRequest } from "../proto/gen/ironmesh/agent/v1/agent_pb.js";
import type { AgentService } from "./agent-service.ts";

export interface ReporterOptions {
  /** The whole truth about the host at this moment. */
  readonly report: () => Promise<ReportRequest>;
  readonly service: Pick<AgentService, "report">;
  readonly heartbeatMs: number;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Tells the control plane about the host: at once on a change, and as a heartbeat. Level-triggered: a lost report costs nothing but time. */
export interface Reporter extends Closable {
  /** Something changed. */
  poke(): void;
  /** Sends one report now. @throws what the call throws */
  send(): Promise<void>;
  /** Workloads that the control plane does not take, and why. */
  refusals(): ReadonlyMap<string, string>;
  /** Why the control plane takes no report, in its words, where another agent speaks for this host. */
  quarantine(): string | undefined;
  close(): Promise<void>;
}

/** Changes within this time make one report. */
const GATHER_MS = 50;

export function startReporter(options: ReporterOptions): Reporter {
  const { report, service, heartbeatMs, clock, logger } = options;
  let refusals: ReadonlyMap<string, string> = new Map();
  let isClosed = false;
  let isPoked = false;
  let isReachable = true;
  let running: Promise<void> | undefined;
  let cancel: (() => void) | undefined;
  let lastHash = "";
  let refusal = "";

  const send = async (): Promise<void> => {
    const request = await report();
    const reply = await service.report(request);
    const hash = contentHash(toBinary(ReportRequestSchema, request));
    if (hash !== lastHash) logger.debug({ workloads: request.workloads.map(({ name, health }) => `${name}:${health}`) }, "reported");
    lastHash = hash;
    const next = new Map(reply.refusals.map(({ workload, reason }) => [workload, reason]));
    for (const [workload, reason] of next) if (refusals.get(workload) !== reason) logger.error({ workload, reason }, "the control plane does not take this workload");
    refusals = next;
  };
  const tick = (): void => {
    if (isClosed) return;
    cancel?.();
    if (running !== undefined) {
      isPoked = true;
      return;
    }
    isPoked = false;
    running = send()
      .then(
        () => {
          if (!isReachable) logger.info("the control plane takes this host's reports again");
          isReachable = true;
          refusal = "";
        },
        (failure: unknown) => {
          const before = refusal;
          refusal = failure instanceof GrpcError && failure.status === "PERMISSION_DENIED" ? failure.message : "";
          if (refusal !== "") {
            if (refusal !== before && !isClosed) logger.error({ reason: refusal }, "the control plane refuses this host; everything stays as it is");
          } else if (isReachable && !isClosed) logger.warn({ reason: messageOf(failure) }, "the control plane cannot be reached; everything stays as it is");
          isReachable = false;
        },
      )
      .finally(() => {
        running = undefined;
        if (!isClosed) cancel = clock.after(isPoked ? GATHER_MS : heartbeatMs, tick);
      });
  };
  tick();
  return {
    send,
    refusals: () => refusals,
    quarantine: () => (refusal.startsWith("MESH_HOST_TWICE") ? refusal : undefined),
    poke() {
      isPoked = true;
      if (isClosed || running !== undefined) return;
      cancel?.();
      cancel = clock.after(GATHER_MS, tick);
    },
    async close() {
      isClosed = true;
      cancel?.();
      await running;
    },
  };
}
