import { canonicalHostname } from "../../../../model/hostname.ts";

/** How what is Consul's is called in the mesh. */
export interface ImportNames {
  /** Of the mesh, that Consul's services appear in and their workloads run in. */
  readonly namespace: string;
  readonly meshDomain: string;
  readonly trustDomain: string;
  /** The label of workloads that names their service. */
  readonly serviceLabel: string;
}

/** A resource of the mesh, as a user would write it. */
export interface WrittenResource {
  readonly apiVersion: string;
  readonly kind: "VirtualService" | "DestinationRule" | "PeerAuthentication" | "AuthorizationPolicy";
  readonly metadata: { readonly name: string; readonly namespace: string };
  readonly spec: Readonly<Record<string, unknown>>;
}

/** One resource of the import, and the entries that it says the same as. */
export interface ImportedResource {
  readonly resource: WrittenResource;
  readonly from: readonly string[];
  /** Why the mesh would refuse it: it is shown to be mended, not to be applied. */
  readonly refusal?: string;
}

const VERSIONS = {
  VirtualService: "networking.istio.io/v1",
  DestinationRule: "networking.istio.io/v1",
  PeerAuthentication: "security.istio.io/v1",
  AuthorizationPolicy: "security.istio.io/v1",
} as const;

export function writeResource(kind: WrittenResource["kind"], name: string, { namespace }: ImportNames, spec: WrittenResource["spec"]): WrittenResource {
  return { apiVersion: VERSIONS[kind], kind, metadata: { name: resourceName(name), namespace }, spec };
}

export function hostOf(service: string, { namespace, meshDomain }: ImportNames): string {
  return canonicalHostname(service.toLowerCase(), namespace, meshDomain);
}

/** Selects the workloads of a service. */
export function selectorOf(service: string, { serviceLabel }: ImportNames): { readonly matchLabels: Readonly<Record<string, string>> } {
  return { matchLabels: { [serviceLabel]: service } };
}

/** Names of services may have underscores, names of resources not. */
export function resourceName(name: string): string {
  return name.toLowerCase().replaceAll("_", "-");
}

/** Go's form, as Istio takes it. @param ms not negative */
export function writeDuration(ms: number): string {
  const whole = Math.max(1, Math.round(ms));
  return whole % 1_000 === 0 ? `${whole / 1_000}s` : `${whole}ms`;
}
