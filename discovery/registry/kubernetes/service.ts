import { canonicalHostname, isHostLabel } from "../../../model/hostname.ts";
import { selectProtocol } from "../../../model/port.ts";
import type { ServicePort } from "../../../model/port.ts";
import { meshNamespace } from "../../kubernetes/namespaces.ts";
import type { RegistryService } from "../registry.ts";
import { buildExternalName } from "./external-name.ts";
import type { ExternalNameSettings } from "./external-name.ts";
import { buildInstances } from "./instances.ts";
import type { InstanceSettings, Surroundings } from "./instances.ts";
import type { EndpointSlice, KubernetesService } from "./objects.ts";

/** How one registry reads services. */
export interface ServiceSettings extends InstanceSettings, ExternalNameSettings {
  /** Stands before each of the cluster's namespaces to make the mesh's. */
  readonly namespacePrefix: string;
}

/**
 * One Kubernetes service as the mesh sees it; undefined where its namespace can
 * be none of the mesh. An API server takes labels of DNS alone for both names;
 * whoever is in its place could make a name of others out of more.
 *
 * @param target whose endpoints it has: another one's, where it is a name of that
 * @param slices of the target
 */
export function buildKubernetesService(
  service: KubernetesService,
  slices: readonly EndpointSlice[],
  surroundings: Surroundings,
  settings: ServiceSettings,
  target: KubernetesService = service,
): RegistryService | undefined {
  const namespace = meshNamespace(service.namespace, settings);
  const namespaceThere = meshNamespace(target.namespace, settings);
  if (namespace === undefined || ![namespace, service.name].every(isHostLabel)) return undefined;
  const notes = new Set<string>();
  const isExternalName = target.type === "ExternalName" || namespaceThere === undefined;
  const ports = buildPorts(isExternalName && service.ports.length > 0 ? service : target, notes);
  const workloads = isExternalName
    ? buildExternalName(service, namespaceThere === undefined ? service : target, ports, namespace, settings, notes)
    : buildInstances(slices, target.ipFamilies[0] ?? "IPv4", namespaceThere, surroundings, settings, notes);
  if (!isExternalName && target !== service) {
    const missing = service.ports.filter(({ port }) => target.ports.every((other) => other.port !== port));
    for (const { port } of missing) notes.add(`port ${port} is left out: ${target.namespace}/${target.name}, which its external name leads to, has none`);
  }
  const exportTo = exportToOf(service, settings);
  if (!exportTo.includes("*")) notes.add(`it is exported to ${exportTo.join(", ")} alone, which the mesh does not keep to yet: all of it sees the service`);
  if (service.ports.length === 0 && target.ports.length === 0) notes.add("it has no port: it gets no traffic");
  for (const field of ["trafficDistribution", "internalTrafficPolicy", "sessionAffinity"] as const) {
    if (service.type !== "ExternalName" && service[field] !== "") notes.add(`its ${field} ${service[field]} is for callers in the cluster: those in the mesh do not go by it yet`);
  }
  return {
    namespace,
    name: service.name,
    claim: "canonical",
    hostname: canonicalHostname(service.name, namespace, settings.meshDomain),
    aliases: [nativeNameOf(service, settings.clusterDomain)],
    ports,
    resolution: isExternalName ? "dns" : "static",
    external: true,
    // Cluster addresses mean something inside of their cluster only, and the same in each.
    addresses: [],
    labels: service.labels,
    subjectAltNames: [],
    exportTo,
    backends: { kind: "explicit", workloads },
    allowsPlaintext: false,
    notes: firstOf([...notes].sort()),
    source: { registry: settings.registry, object: `${service.namespace}/${service.name}` },
  };
}

/** Slices and ports that are odd are many where one is. Their notes sort behind the others, which are few and never cut: `admission.ts` goes by one. */
const MAX_NOTES = 20;

function firstOf(notes: readonly string[]): string[] {
  return notes.length <= MAX_NOTES ? [...notes] : [...notes.slice(0, MAX_NOTES), `and ${notes.length - MAX_NOTES} more such notes`];
}

/** What the cluster itself calls a service. */
export function nativeNameOf({ namespace, name }: Pick<KubernetesService, "namespace" | "name">, clusterDomain: string): string {
  return `${name}.${namespace}.svc.${clusterDomain}`;
}

/** Slices carry a number for each port of the service: which one the pods call by its `targetPort` is resolved there. */
function buildPorts(service: KubernetesService, notes: Set<string>): ServicePort[] {
  const ports: ServicePort[] = [];
  for (const { name, protocol, port, appProtocol } of service.ports) {
    if (protocol === "TCP") ports.push({ name, number: port, protocol: selectProtocol(appProtocol, name, port), targetPort: name });
    else notes.add(`port ${name === "" ? port : name} is left out: it speaks ${protocol}`);
  }
  return ports.sort((left, right) => left.number - right.number);
}

/** Istio's annotation on services, whose namespaces are the cluster's. */
function exportToOf({ exportTo }: KubernetesService, settings: ServiceSettings): string[] {
  const names = exportTo.split(",").map((name) => name.trim()).filter((name) => name !== "");
  if (names.length === 0) return ["*"];
  return names.map((name) => (name === "*" || name === "." || name === "~" ? name : `${settings.namespacePrefix}${name}`));
}
