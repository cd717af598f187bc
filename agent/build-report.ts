import { create } from "@bufbuild/protobuf";

import { Health, ReportRequestSchema } from "../proto/gen/ironmesh/agent/v1/agent_pb.js";
import type { HostFacts, ReportRequest } from "../proto/gen/ironmesh/agent/v1/agent_pb.js";
import { workloadName } from "./config.ts";
import type { AgentConfig } from "./config.ts";
import type { WorkloadHealth } from "./health.ts";
import type { OutboundPorts } from "./outbound-ports.ts";
import type { EnvoyRejection } from "./stand-ins.ts";

export interface ReportInput {
  readonly config: AgentConfig;
  readonly agentVersion: string;
  readonly envoyVersion: string;
  readonly addresses: readonly string[];
  readonly outboundPorts: OutboundPorts;
  readonly healthOf: (workload: string) => WorkloadHealth | undefined;
  readonly isEnvoyReady: boolean;
  /** The host says farewell. */
  readonly isLeaving: boolean;
  readonly rejections: readonly EnvoyRejection[];
  readonly facts: HostFacts;
}

const HEALTH = { unknown: Health.UNSPECIFIED, healthy: Health.HEALTHY, unhealthy: Health.UNHEALTHY } as const;

/** The whole truth about the host; pure. */
export function buildReport(input: ReportInput): ReportRequest {
  const { config, outboundPorts, isEnvoyReady } = input;
  const workloads = input.isLeaving ? [] : config.workloads;
  return create(ReportRequestSchema, {
    hostName: config.hostName,
    agentVersion: input.agentVersion,
    envoyVersion: input.envoyVersion,
    workloads: workloads.map((entry) => {
      const name = workloadName(entry);
      const own = input.healthOf(name);
      // Peers reach a workload through its Envoy: without that it is not there for them.
      const health: WorkloadHealth = isEnvoyReady ? (own ?? { state: "unknown", detail: "" }) : { state: "unhealthy", detail: "envoy is not ready" };
      return {
        name,
        group: entry.group,
        addresses: [...(entry.addresses ?? input.addresses)],
        ports: entry.ports ?? {},
        health: HEALTH[health.state],
        healthDetail: health.detail,
        outboundPort: outboundPorts[name] ?? 0,
      };
    }),
    facts: input.facts,
    listenerPorts: { inbound: config.ports.inbound },
    rejections: input.rejections.map((rejection) => ({ ...rejection })),
  });
}
