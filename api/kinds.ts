import { authorizationPolicySchema } from "./authorization-policy.ts";
import { destinationRuleSchema } from "./destination-rule.ts";
import { peerAuthenticationSchema } from "./peer-authentication.ts";
import type { Kind } from "./resource.ts";
import type { ObjectSchema } from "./schema.ts";
import { serviceEntrySchema } from "./service-entry.ts";
import { serviceSchema } from "./service.ts";
import { virtualServiceSchema } from "./virtual-service.ts";
import { workloadEntrySchema } from "./workload-entry.ts";
import { workloadGroupSchema } from "./workload-group.ts";

/** One kind that users may write. */
export interface KindDefinition {
  readonly kind: Kind;
  /** As the CLI takes it, like kubectl: `virtualservices`, `vs`. */
  readonly plural: string;
  readonly shortNames: readonly string[];
  /** Empty for Kubernetes' core. */
  readonly group: string;
  /** Accepted, preferred first. */
  readonly versions: readonly string[];
  readonly summary: string;
  readonly schema: ObjectSchema;
  /** Annotations of Istio's that would change what the resource does, and are not implemented. */
  readonly unsupportedAnnotations: readonly string[];
}

const NETWORKING = { group: "networking.istio.io", versions: ["v1", "v1beta1", "v1alpha3"], unsupportedAnnotations: [] } as const;
const SECURITY = { group: "security.istio.io", versions: ["v1", "v1beta1"], unsupportedAnnotations: ["istio.io/dry-run"] } as const;

/** Every kind, in the order in which it is documented and listed. */
export const kinds: readonly KindDefinition[] = [
  {
    kind: "Service", plural: "services", shortNames: ["svc"], group: "", versions: ["v1"],
    summary: "A service of the mesh whose endpoints are the workloads with the selected labels.",
    schema: serviceSchema, unsupportedAnnotations: ["networking.istio.io/exportTo"],
  },
  {
    kind: "ServiceEntry", plural: "serviceentries", shortNames: ["se"], ...NETWORKING,
    summary: "A service by hosts, ports and endpoints, inside or outside of the mesh.", schema: serviceEntrySchema,
  },
  {
    kind: "WorkloadEntry", plural: "workloadentries", shortNames: ["we"], ...NETWORKING,
    summary: "One running instance, by its address and labels.", schema: workloadEntrySchema,
  },
  {
    kind: "WorkloadGroup", plural: "workloadgroups", shortNames: ["wg"], ...NETWORKING,
    summary: "What the workloads that hosts register have in common: labels, identity, ports, probe.", schema: workloadGroupSchema,
  },
  {
    kind: "VirtualService", plural: "virtualservices", shortNames: ["vs"], ...NETWORKING,
    summary: "How requests and connections to hosts are routed.", schema: virtualServiceSchema,
  },
  {
    kind: "DestinationRule", plural: "destinationrules", shortNames: ["dr"], ...NETWORKING,
    summary: "Subsets of a host, and how it is called.", schema: destinationRuleSchema,
  },
  {
    kind: "PeerAuthentication", plural: "peerauthentications", shortNames: ["pa"], ...SECURITY,
    summary: "Whether workloads take mutual TLS only.", schema: peerAuthenticationSchema, unsupportedAnnotations: [],
  },
  {
    kind: "AuthorizationPolicy", plural: "authorizationpolicies", shortNames: ["ap"], ...SECURITY,
    summary: "Who may call workloads, and with what.", schema: authorizationPolicySchema,
  },
];

/** Istio's kinds that are known and not implemented. */
export const unsupportedKinds: Readonly<Record<string, readonly string[]>> = {
  "networking.istio.io": ["Gateway", "Sidecar", "EnvoyFilter", "ProxyConfig"],
  "security.istio.io": ["RequestAuthentication"],
  "telemetry.istio.io": ["Telemetry"],
  "extensions.istio.io": ["WasmPlugin", "TrafficExtension"],
  "install.istio.io": ["IstioOperator"],
};

/** The kind that a word of the command line means: `vs`, `virtualservice`, `VirtualServices`. */
export function kindNamed(word: string): KindDefinition | undefined {
  const lower = word.toLowerCase();
  return kinds.find(({ kind, plural, shortNames }) => [kind.toLowerCase(), plural, ...shortNames].includes(lower));
}

export function kindDefinition(kind: Kind): KindDefinition {
  const found = kinds.find((definition) => definition.kind === kind);
  if (found === undefined) throw new Error(`no definition of ${kind}`);
  return found;
}
