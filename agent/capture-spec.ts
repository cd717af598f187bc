import { isAcceptable } from "../base/issue.ts";
import type { Issue } from "../base/issue.ts";
import type { HostConfig } from "../proto/gen/ironmesh/agent/v1/agent_pb.js";
import { workloadName } from "./config.ts";
import type { AgentConfig } from "./config.ts";
import { SSH_PORT } from "./interception/capture-spec.ts";
import type { CaptureSpec, WorkloadMatch } from "./interception/capture-spec.ts";
import { validateCaptureSpec } from "./interception/validate-spec.ts";
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

/** What of a spec can be had, and what of it cannot, and why, a line each. */
export interface PossibleCapture {
  readonly spec: CaptureSpec;
  readonly uncaptured: readonly string[];
}

/**
 * What is to be captured on this host: of what its YAML binds, only what the
 * control plane has confirmed as the host's. A workload that was refused is not
 * captured, because no listener speaks for it. A port that cannot be captured is
 * left out with its reason: it must not keep the others from being closed.
 */
export function buildCaptureSpec(input: CaptureSpecInput): PossibleCapture {
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
  // Of two that claim one port the closed one is kept.
  }).toSorted((a, b) => Number(b.failClosed) - Number(a.failClosed));
  const { excludePorts, excludeCidrs } = config.capture.outbound;
  return leaveOutImpossible({
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
  });
}

function leaveOutImpossible(spec: CaptureSpec): PossibleCapture {
  const reasons = new Map<number, Issue>();
  for (const issue of validateCaptureSpec(spec)) {
    const index = /^inbound\[(\d+)\]/.exec(issue.path)?.[1];
    if (index !== undefined && !isAcceptable([issue])) reasons.set(Number(index), issue);
  }
  return {
    spec: { ...spec, inbound: spec.inbound.filter((_, index) => !reasons.has(index)) },
    uncaptured: [...reasons].toSorted(([a], [b]) => a - b).map(([index, { message }]) => `port ${spec.inbound[index]?.port} of ${spec.inbound[index]?.workload}: ${message}`),
  };
}

function withLength(range: string): string {
  if (range.includes("/")) return range;
  return `${range}/${range.includes(":") ? 128 : 32}`;
}
