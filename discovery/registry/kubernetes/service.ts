import { familyOf, isOwnToEachHost } from "../../../model/address.ts";
import { canonicalHostname, isHostLabel, isHostname } from "../../../model/hostname.ts";
import { selectProtocol } from "../../../model/port.ts";
import type { ServicePort } from "../../../model/port.ts";
import type { Workload } from "../../../model/workload.ts";
import { meshNamespace } from "../../kubernetes/namespaces.ts";
import type { RegistryService } from "../registry.ts";
import { buildInstances } from "./instances.ts";
import type { InstanceSettings, Surroundings } from "./instances.ts";
import type { EndpointSlice, KubernetesService } from "./objects.ts";

/** How one registry reads services. */
export interface ServiceSettings extends InstanceSettings {
  readonly meshDomain: string;
  /** Stands before each of the cluster's namespaces to make the mesh's. */
  readonly namespacePrefix: string;
  /** The cluster's own domain, of its native names. */
  readonly clusterDomain: string;
}

/**
 * One Kubernetes service as the mesh sees it; undefined where its namespace can
 * be none of the mesh. An API server takes labels of DNS alone for both names;
 * whoever is in its place could make a name of others out of more.
 */
export function buildKubernetesService(
  service: KubernetesService,
  slices: readonly EndpointSlice[],
  surroundings: Surroundings,
  settings: ServiceSettings,
): RegistryService | undefined {
  const namespace = meshNamespace(service.namespace, settings);
  if (namespace === undefined || ![namespace, service.name].every(isHostLabel)) return undefined;
  const notes = new Set<string>();
  const ports = buildPorts(service, notes);
  const isExternalName = service.type === "ExternalName";
  const workloads = isExternalName
    ? buildExternalName(service, ports, namespace, settings, notes)
    : buildInstances(slices, service.ipFamilies[0] ?? "IPv4", namespace, surroundings, settings, notes);
  const exportTo = exportToOf(service, settings);
  if (!exportTo.includes("*")) notes.add(`it is exported to ${exportTo.join(", ")} alone, which the mesh does not keep to yet: all of it sees the service`);
  if (service.ports.length === 0) notes.add("it has no port: it gets no traffic");
  if (!isExternalName && service.trafficDistribution !== "") notes.add(`its trafficDistribution ${service.trafficDistribution} is for callers in the cluster: those in the mesh do not go by it yet`);
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
    notes: [...notes].sort(),
    source: { registry: settings.registry, object: `${service.namespace}/${service.name}` },
  };
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

function buildExternalName(service: KubernetesService, ports: readonly ServicePort[], namespace: string, settings: ServiceSettings, notes: Set<string>): Workload[] {
  const address = service.externalName.toLowerCase().replace(/\.$/, "");
  const object = `${service.namespace}/${service.name}`;
  if (familyOf(address) !== undefined || !isHostname(address) || address.startsWith("*") || isOwnToEachHost(address)) {
    notes.add(`its external name ${JSON.stringify(service.externalName)} is no name that hosts can share: it gets no traffic`);
    return [];
  }
  return [
    {
      key: `${settings.registry}/external/${object}`,
      namespace,
      name: service.name,
      addresses: [address],
      ports: Object.fromEntries(ports.map(({ name, number }) => [name, number])),
      labels: {},
      serviceAccount: "",
      locality: settings.locality,
      network: settings.network,
      weight: 1,
      // Envoy sees for itself what DNS says.
      health: "healthy",
      meshed: false,
      source: { registry: settings.registry, object },
    },
  ];
}

/** Istio's annotation on services, whose namespaces are the cluster's. */
function exportToOf({ exportTo }: KubernetesService, settings: ServiceSettings): string[] {
  const names = exportTo.split(",").map((name) => name.trim()).filter((name) => name !== "");
  if (names.length === 0) return ["*"];
  return names.map((name) => (name === "*" || name === "." || name === "~" ? name : `${settings.namespacePrefix}${name}`));
}
