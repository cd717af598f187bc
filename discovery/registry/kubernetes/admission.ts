import { canonicalHostname } from "../../../model/hostname.ts";
import { meshNamespace, namespacePrefixOf, wantedNamespaces } from "../../kubernetes/namespaces.ts";
import type { NamespaceSettings } from "../../kubernetes/namespaces.ts";
import type { Admission } from "../last-good.ts";
import { ISTIO_NOTES } from "./instances.ts";
import type { InstanceSettings } from "./instances.ts";
import { nativeNameOf } from "./service.ts";

/** What of the settings says which services there are, and what they are called. */
export interface AdmissionSettings extends NamespaceSettings {
  readonly meshDomain: string;
  readonly clusterDomain: string;
  readonly istioPods: InstanceSettings["istioPods"];
}

/** What of a cluster's stored content the settings could give. How the cluster is reached is no part of it. */
export function kubernetesAdmission(settings: AdmissionSettings): Admission {
  const { meshDomain, clusterDomain, istioPods } = settings;
  const namespacePrefix = namespacePrefixOf(settings);
  const isWanted = wantedNamespaces(settings);
  const isAdmitted = (mapped: string): boolean => mapped.startsWith(namespacePrefix) && isWanted(mapped.slice(namespacePrefix.length));
  return {
    scope: "",
    admit(id, service) {
      const [there = "", name = ""] = id.split("/");
      const namespace = meshNamespace(there, { namespacePrefix });
      if (!isWanted(there) || namespace === undefined || service.namespace !== namespace || service.hostname !== canonicalHostname(name, namespace, meshDomain)) return undefined;
      // One that is a name of another has that one's instances.
      if (service.backends.kind === "explicit" && service.backends.workloads.some((workload) => !isAdmitted(workload.namespace))) return undefined;
      // Which of its pods are in that mesh is not stored.
      if (istioPods === "exclude" && service.notes.includes(ISTIO_NOTES.plaintext)) return undefined;
      return { ...service, aliases: service.aliases.filter((alias) => alias === nativeNameOf({ namespace: there, name }, clusterDomain)) };
    },
  };
}
