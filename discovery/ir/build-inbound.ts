import type { ResourceOf } from "../../api/resource.ts";
import { isHttp, type Protocol, selectProtocol } from "../../model/port.ts";
import type { Workload } from "../../model/workload.ts";
import { buildAuthorization } from "./build-authorization.ts";
import { isUnselective, policiesOf, type PolicyTarget } from "./policy-target.ts";
import type { InboundPortIr } from "./proxy.ts";

export type MtlsMode = InboundPortIr["mtls"];

/** What the inbound side of one workload depends on. */
export interface InboundInput {
  readonly workload: Workload;
  /** Protocols that services give to the workload's own ports. */
  readonly serviceProtocols: ReadonlyMap<number, Protocol>;
  readonly peerAuthentications: readonly ResourceOf<"PeerAuthentication">[];
  readonly authorizationPolicies: readonly ResourceOf<"AuthorizationPolicy">[];
  /** Whose policies hold in the workload's namespace too, the narrowest first. */
  readonly rootNamespaces: readonly string[];
  /** Holds where no PeerAuthentication says otherwise. */
  readonly defaultMtls: MtlsMode;
}

/** The captured ports of a workload, sorted by number. */
export function buildInbound(input: InboundInput): InboundPortIr[] {
  const { workload } = input;
  const target: PolicyTarget = {
    namespace: workload.namespace,
    labels: workload.labels,
    rootNamespaces: input.rootNamespaces,
  };
  const authorization = buildAuthorization(input.authorizationPolicies, target);
  return portsOf(input).map(({ number, protocol }) => ({
    port: number,
    addresses: workload.addresses,
    protocol: inboundProtocol(protocol),
    mtls: mtlsMode(input.peerAuthentications, target, number, input.defaultMtls),
    authorization,
  }));
}

/**
 * The mode in force for a port. The narrowest policy that sets one wins: port,
 * workload, namespace, cluster, mesh.
 * Source: istio.io/latest/docs/reference/config/security/peer_authentication
 */
export function mtlsMode(
  policies: readonly ResourceOf<"PeerAuthentication">[],
  target: PolicyTarget,
  port: number,
  meshDefault: MtlsMode,
): MtlsMode {
  const held = policiesOf(policies, target);
  const own = held.filter((policy) => policy.metadata.namespace === target.namespace);
  const selecting = own.find((policy) => !isUnselective(policy));
  const namespaceWide = own.find(isUnselective);
  const wide = target.rootNamespaces.map((root) => held.find((policy) => policy.metadata.namespace === root && isUnselective(policy)));
  const modes = [
    selecting?.spec.portLevelMtls?.[String(port)]?.mode,
    selecting?.spec.mtls?.mode,
    namespaceWide?.spec.mtls?.mode,
    ...wide.map((policy) => policy?.spec.mtls?.mode),
  ];
  return modes.filter((mode) => mode !== undefined).find((mode) => mode !== "UNSET") ?? meshDefault;
}

function portsOf({ workload, serviceProtocols }: InboundInput): { number: number; protocol: Protocol }[] {
  const named = Object.entries(workload.ports).map(
    ([name, number]) => [number, serviceProtocols.get(number) ?? selectProtocol(undefined, name, number)] as const,
  );
  const ports = new Map<number, Protocol>([...serviceProtocols, ...named]);
  return [...ports].map(([number, protocol]) => ({ number, protocol })).sort((a, b) => a.number - b.number);
}

function inboundProtocol(protocol: Protocol): InboundPortIr["protocol"] {
  if (!isHttp(protocol)) return "tcp";
  return protocol === "HTTP" ? "http1" : "http2";
}
