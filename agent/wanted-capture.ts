import type { EnvoyAdmin } from "./admin.ts";
import { ownCgroup, resolveBinding } from "./binding.ts";
import type { WantedRules } from "./capture-control.ts";
import { buildCaptureSpec } from "./capture-spec.ts";
import type { PossibleCapture } from "./capture-spec.ts";
import { workloadName } from "./config.ts";
import type { AgentConfig } from "./config.ts";
import type { UserIds } from "./envoy-binary.ts";
import type { CaptureSpec, WorkloadMatch } from "./interception/capture-spec.ts";
import type { OutboundPorts } from "./outbound-ports.ts";
import type { XdsRelay } from "./xds-relay.ts";
import { TYPE_URLS } from "../xds/type-urls.ts";

export interface WantedCaptureInput {
  readonly config: AgentConfig;
  readonly relay: Pick<XdsRelay, "hostConfig" | "isEnvoyInSync" | "rejections"> | undefined;
  /** Absent while Envoy is not ready. */
  readonly envoy: Pick<EnvoyAdmin, "listenerPorts"> | undefined;
  readonly outboundPorts: OutboundPorts;
  readonly proxyUser: UserIds | undefined;
  readonly dnsPort: number;
  readonly managementPorts: readonly number[];
  /** Is told the control groups that bindings depend on. */
  readonly follow: (cgroups: readonly string[]) => void;
}

/**
 * What to capture now; undefined while Envoy does not serve it. What Envoy
 * refuses of its configuration holds up nothing but the listeners that it has
 * in no version at all.
 */
export async function wantedCapture(input: WantedCaptureInput): Promise<WantedRules | undefined> {
  const { config, relay, envoy, proxyUser } = input;
  const hostConfig = relay?.hostConfig();
  if (hostConfig === undefined || proxyUser === undefined || relay?.isEnvoyInSync() !== true || envoy === undefined) return undefined;
  const matches = new Map<string, WorkloadMatch>();
  const stamps: string[] = [];
  const cgroups: string[] = [];
  for (const entry of config.workloads) {
    const resolved = await resolveBinding(entry.bind);
    stamps.push(resolved.stamp);
    if (resolved.cgroup !== undefined) cgroups.push(resolved.cgroup);
    if (resolved.match !== undefined) matches.set(workloadName(entry), resolved.match);
  }
  input.follow(cgroups);
  const possible = buildCaptureSpec({ ...input, hostConfig, proxyUid: proxyUser.uid, agentUid: process.getuid?.() ?? 0, agentCgroup: await ownCgroup(), matches });
  const served = withListeners(possible.spec, await envoy.listenerPorts());
  const isListenerRefused = relay.rejections().some(({ typeUrl }) => typeUrl === TYPE_URLS.listener);
  if (served.uncaptured.length > 0 && !isListenerRefused) return undefined;
  return { spec: served.spec, uncaptured: [...possible.uncaptured, ...served.uncaptured], stamp: stamps.join("; ") };
}

/**
 * Leaves out what no listener would take. Ports that fail closed stay: they are
 * closed by it. What a workload without its listener opens goes out uncaptured,
 * because capture fails open outbound.
 */
function withListeners(spec: CaptureSpec, listening: ReadonlySet<number>): PossibleCapture {
  const isInboundServed = listening.has(spec.inboundListenerPort);
  const why = "envoy has no listener for it";
  const outbound = spec.outbound.filter(({ outboundPort }) => listening.has(outboundPort));
  const inbound = spec.inbound.filter(({ failClosed }) => isInboundServed || failClosed);
  return {
    spec: { ...spec, outbound, inbound },
    uncaptured: [
      ...spec.outbound.filter((one) => !outbound.includes(one)).map(({ workload }) => `what ${workload} opens: ${why}`),
      ...(isInboundServed ? [] : spec.inbound.map(({ workload, port, failClosed }) => `port ${port} of ${workload}: ${why}${failClosed ? "; it is closed" : ""}`)),
    ],
  };
}
