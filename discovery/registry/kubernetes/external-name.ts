import { familyOf, isOwnToEachHost } from "../../../model/address.ts";
import { isHostname } from "../../../model/hostname.ts";
import type { ServicePort } from "../../../model/port.ts";
import type { Locality, Workload } from "../../../model/workload.ts";
import type { KubernetesService } from "./objects.ts";

/** How one registry reads services of type ExternalName. */
export interface ExternalNameSettings {
  readonly registry: string;
  readonly meshDomain: string;
  /** The cluster's own domain. */
  readonly clusterDomain: string;
  readonly network: string;
  readonly locality: Locality;
}

/** The key of the cluster's service that another one is a name of; undefined for one that is a name of nobody's, or leads out of the cluster. */
export function serviceNamedBy({ type, externalName }: KubernetesService, clusterDomain: string): string | undefined {
  const ending = `.svc.${clusterDomain}`;
  const name = hostIn(externalName);
  if (type !== "ExternalName" || !name.endsWith(ending)) return undefined;
  const [service = "", namespace, ...others] = name.slice(0, -ending.length).split(".");
  return namespace === undefined || others.length > 0 ? undefined : `${namespace}/${service}`;
}

/**
 * The service whose endpoints another one has: its own, or those of the last
 * one that its external name leads to in the cluster. Where that is not there,
 * or leads back, it is one of type ExternalName.
 */
export function targetOf(service: KubernetesService, services: ReadonlyMap<string, KubernetesService>, clusterDomain: string): KubernetesService {
  const passed = new Set<KubernetesService>();
  let target = service;
  while (!passed.has(target)) {
    passed.add(target);
    target = services.get(serviceNamedBy(target, clusterDomain) ?? "") ?? target;
  }
  return target;
}

/** The one instance behind a name that leads out of the cluster, found by DNS on each host. */
export function buildExternalName(service: KubernetesService, target: KubernetesService, ports: readonly ServicePort[], namespace: string, settings: ExternalNameSettings, notes: Set<string>): Workload[] {
  const address = hostIn(target.externalName);
  const object = `${service.namespace}/${service.name}`;
  if (familyOf(address) !== undefined || !isHostname(address) || address.startsWith("*") || isOwnToEachHost(address)) {
    notes.add(`its external name ${JSON.stringify(target.externalName)} is no name that hosts can share: it gets no traffic`);
    return [];
  }
  // Its addresses are for what is captured, which Envoy is not.
  if (address.endsWith(`.${settings.meshDomain}`)) {
    notes.add(`its external name ${address} is a name of the mesh: it gets no traffic, call it by that name`);
    return [];
  }
  if (address.endsWith(`.svc.${settings.clusterDomain}`)) notes.add(`its external name ${address} leads to no service of the cluster that is read: it serves where hosts find that name by their own DNS`);
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

function hostIn(externalName: string): string {
  return externalName.toLowerCase().replace(/\.$/, "");
}
