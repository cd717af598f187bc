import { canonicalHostname } from "../../../model/hostname.ts";
import type { Workload } from "../../../model/workload.ts";
import type { Admission } from "../last-good.ts";
import type { RegistryService } from "../registry.ts";
import { isIgnored } from "./names.ts";
import { aliasesFrom } from "./service.ts";
import type { ServiceSettings } from "./service.ts";

/** What of the settings says which services there are, and what they are called. */
export interface AdmissionSettings extends Pick<ServiceSettings, "namespace" | "meshDomain" | "datacenter" | "partition" | "consulNamespace" | "dnsDomain" | "ignoredSources"> {
  readonly ignoredServices: readonly string[];
}

/**
 * What of a Consul's stored content the settings could give. Which agent is asked
 * is no part of it: a Consul is reached in several ways, and by another one after
 * a change.
 */
export function consulAdmission(settings: AdmissionSettings): Admission {
  const { namespace, meshDomain, datacenter, partition, consulNamespace, ignoredSources, ignoredServices } = settings;

  const isAdmitted = ({ labels }: Workload): boolean => !ignoredSources.includes(labels["external-source"] ?? "");

  return {
    scope: JSON.stringify([datacenter, partition, consulNamespace]),
    // What is read of an agent's own datacenter says which one that is.
    widerScopes: [JSON.stringify([undefined, partition, consulNamespace])],
    admit(id, service) {
      if (datacenter !== undefined && datacenterOf(service) !== datacenter) return undefined;
      const label = id.toLowerCase();
      if (isIgnored(id, ignoredServices) || service.namespace !== namespace || service.hostname !== canonicalHostname(label, namespace, meshDomain)) return undefined;
      const given = aliasesFrom(datacenterOf(service), label, settings);
      const { backends } = service;
      const aliases = service.aliases.filter((alias) => given.includes(alias));
      if (backends.kind === "selector") return { ...service, aliases };
      const workloads = backends.workloads.filter(isAdmitted);
      // Who has none left is somebody else's, as in an answer of Consul.
      return workloads.length === 0 && backends.workloads.length > 0 ? undefined : { ...service, aliases, backends: { kind: "explicit", workloads } };
    },
  };
}

/** That of the agent that was asked, where none is configured. */
function datacenterOf({ source: { object } }: RegistryService): string {
  const slash = object.lastIndexOf("/");
  return slash === -1 ? "" : object.slice(0, slash);
}
