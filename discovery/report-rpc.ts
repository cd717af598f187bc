import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { timestampDate } from "@bufbuild/protobuf/wkt";
import { messageOf } from "../base/coded-error.ts";
import { foreignLines, foreignText } from "../base/foreign-text.ts";
import type { Peer, UnaryHandler } from "../base/grpc/call.ts";
import { GrpcError } from "../base/grpc/status.ts";
import type { Health } from "../model/workload.ts";
import { Health as WireHealth, type ReportRequest, ReportRequestSchema, ReportResponseSchema } from "../proto/gen/ironmesh/agent/v1/agent_pb.js";
import type { AgentsRegistry } from "./registry/agents/registry.ts";
import type { HostReport } from "./registry/agents/report.ts";

export const REPORT_PATH = "/ironmesh.agent.v1.AgentService/Report";

/** Names beyond these lengths are no host's of ours; they would end in logs and tables. */
const MAX_TEXT = 256;
const MAX_WORKLOADS = 256;
const MAX_ADDRESSES = 16;
const MAX_PORTS = 64;
const MAX_HOST_ADDRESSES = 64;
const MAX_REJECTIONS = 64;
const MAX_MESSAGE = 2_048;

const HEALTH: Readonly<Record<WireHealth, Health>> = {
  [WireHealth.UNSPECIFIED]: "unknown",
  [WireHealth.HEALTHY]: "healthy",
  [WireHealth.UNHEALTHY]: "unhealthy",
  [WireHealth.DRAINING]: "draining",
};

/** A resource that a host's Envoy refuses. */
export interface EnvoyRejection {
  readonly typeUrl: string;
  readonly name: string;
  /** In Envoy's own words, which may be several lines. */
  readonly message: string;
}

export interface ReportHandlerOptions {
  readonly hosts: AgentsRegistry;
  /**
   * The id of a caller who may report; throws a GrpcError where he may not. Asked before the report is read, and when
   * all of it is there: what the caller may be can end in between.
   */
  readonly hostIdOf: (peer: Peer) => Promise<string>;
  /** Told with each report what the host's Envoy refuses now; empty for nothing. */
  readonly onRejections: (hostId: string, rejections: readonly EnvoyRejection[]) => void;
}

/** Takes what agents say about their hosts. */
export function reportHandler({ hosts, hostIdOf, onRejections }: ReportHandlerOptions): UnaryHandler {
  return {
    kind: "unary",
    authorize: async (peer) => void (await hostIdOf(peer)),
    async handle(bytes, { peer }) {
      const hostId = await hostIdOf(peer);
      const request = decodeReport(bytes);
      const refusals = hosts.report(hostId, readReport(request));
      onRejections(hostId, request.rejections.slice(0, MAX_REJECTIONS).map(({ typeUrl, name, message }) => ({ typeUrl: short(typeUrl), name: short(name), message: foreignLines(message, MAX_MESSAGE) })));
      return toBinary(ReportResponseSchema, create(ReportResponseSchema, { refusals: [...refusals] }));
    },
  };
}

function decodeReport(bytes: Uint8Array): ReportRequest {
  try {
    return fromBinary(ReportRequestSchema, bytes);
  } catch (failure) {
    throw new GrpcError("INVALID_ARGUMENT", `the report cannot be decoded: ${messageOf(failure)}`, failure);
  }
}

function readReport(request: ReportRequest): HostReport {
  const { facts } = request;
  atMost(MAX_WORKLOADS, request.workloads.length, "workloads in one report");
  atMost(MAX_HOST_ADDRESSES, facts?.addresses.length ?? 0, "addresses of one host");
  for (const { addresses, ports } of request.workloads) {
    atMost(MAX_ADDRESSES, addresses.length, "addresses of one workload");
    atMost(MAX_PORTS, Object.keys(ports).length, "ports of one workload");
  }
  return {
    hostName: short(request.hostName),
    agentVersion: short(request.agentVersion),
    envoyVersion: short(request.envoyVersion),
    inboundPort: request.listenerPorts?.inbound ?? 0,
    workloads: request.workloads.map((workload) => ({
      name: short(workload.name),
      group: short(workload.group),
      addresses: workload.addresses.map(short),
      ports: workload.ports,
      health: HEALTH[workload.health],
      healthDetail: short(workload.healthDetail),
      outboundPort: workload.outboundPort,
    })),
    facts: {
      os: short(facts?.os ?? ""),
      kernel: short(facts?.kernel ?? ""),
      architecture: short(facts?.architecture ?? ""),
      cpus: facts?.cpus ?? 0,
      memoryBytes: Number(facts?.memoryBytes ?? 0n),
      addresses: (facts?.addresses ?? []).map(short),
      locality: short(facts?.locality ?? ""),
      capture: short(facts?.capture ?? ""),
      bootedAt: facts?.bootedAt === undefined ? "" : timestampDate(facts.bootedAt).toISOString(),
    },
  };
}

/** What one host says is worked on by one process for all. */
function atMost(limit: number, count: number, what: string): void {
  if (count > limit) throw new GrpcError("INVALID_ARGUMENT", `${count} ${what}; ${limit} are allowed`);
}

function short(text: string): string {
  return foreignText(text, MAX_TEXT);
}
