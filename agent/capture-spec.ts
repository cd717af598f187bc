import type { HostConfig } from "../proto/gen/ironmesh/agent/v1/agent_pb.js";
import { workloadName } from "./config.ts";
import type { AgentConfig } from "./config.ts";
import { SSH_PORT } from "./interception/capture-spec.ts";
import type { CaptureSpec, WorkloadMatch } from "./interception/capture-spec.ts";
import type { OutboundPorts } from "./outbound-ports.ts";

export interface CaptureSpecInput {
  readonly config: AgentConfig;
  readonly hostConfig: HostConfig;
  readonly proxyUid: number;
  readonly agentUid: number;
  /** Absent where it is the root. */
  readonly agentCgroup?: string | undefined;
  readonly outboundPorts: OutboundPorts;
  /** By workload; one without an entry sends uncaptured. */
  readonly matches: ReadonlyMap<string, WorkloadMatch>;
  readonly dnsPort: number;
  readonly managementPorts: readonly number[];
}

/**
 * What is to be captured on this host: of what its YAML binds, only what the
 * control plane has confirmed as the host's. A workload that was refused is not
 * captured, because no listener speaks for it.
 */
export function buildCaptureSpec(input: CaptureSpecInput): CaptureSpec {
  const { config, hostConfig, outboundPorts, matches } = input;
  const confirmed = new Map(hostConfig.workloads.map((workload) => [workload.name, workload]));
  const outbound = config.workloads.flatMap((entry) => {
    const name = workloadName(entry);
    const match = matches.get(name);
    const outboundPort = outboundPorts[name];
    return confirmed.has(name) && match !== undefined && outboundPort !== undefined ? [{ workload: name, match, outboundPort }] : [];
  });
  const inbound = config.workloads.flatMap((entry) => {
    const name = workloadName(entry);
    return (confirmed.get(name)?.ports ?? [])
      // A group that declares SSH must not keep the host's other ports from being captured.
      .filter(({ port }) => port !== SSH_PORT && !config.capture.inbound.excludePorts.includes(port))
      .map(({ port, failClosed }) => ({ workload: name, port, failClosed }));
  });
  const { excludePorts, excludeCidrs } = config.capture.outbound;
  return {
    proxyUid: input.proxyUid,
    probeUids: [input.agentUid],
    ...(input.agentCgroup === undefined ? {} : { agentCgroup: input.agentCgroup }),
    inboundListenerPort: config.ports.inbound,
    outbound,
    inbound,
    outboundScope: config.capture.outbound.scope,
    exclusions: { ports: excludePorts, cidrs: excludeCidrs.map(withLength) },
    vips: {
      v4: hostConfig.vipRanges.filter((range) => !range.includes(":")),
      v6: hostConfig.vipRanges.filter((range) => range.includes(":")),
    },
    ...(config.dns.mode === "capture" ? { dns: { port: input.dnsPort, capture: true } } : {}),
    managementPorts: input.managementPorts,
  };
}

function withLength(range: string): string {
  if (range.includes("/")) return range;
  return `${range}/${range.includes(":") ? 128 : 32}`;
}
