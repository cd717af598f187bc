import { type ParsedDocument, parseDocumentValue } from "../../../api/document.ts";
import type { KindDefinition } from "../../../api/kinds.ts";
import { isAcceptable } from "../../../base/issue.ts";
import type { Metadata } from "../../kubernetes/object.ts";
import { judgeAuthority } from "./authority.ts";
import type { ClusterAuthority } from "./authority.ts";
import { toMeshNames } from "./mesh-names.ts";
import type { ClusterNames } from "./mesh-names.ts";

export interface ResourceSettings extends ClusterNames, ClusterAuthority {
  /** Of the registry that the cluster is. */
  readonly name: string;
}

/** Tools note there what they applied: a second copy of it all. */
const LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration";

/** One resource of a cluster as the mesh understands it, judged like one that was written into a file. */
export function parseClusterResource(definition: KindDefinition, metadata: Metadata, object: Readonly<Record<string, unknown>>, settings: ResourceSettings): ParsedDocument {
  const { kind, group, versions } = definition;
  const { namespace, name, labels, annotations } = metadata;
  const { [LAST_APPLIED]: _copy, ...told } = annotations;
  const document = {
    apiVersion: object["apiVersion"] ?? `${group}/${versions[0]}`,
    kind,
    metadata: { name, namespace: `${settings.namespacePrefix}${namespace}`, labels, annotations: told },
    spec: toMeshNames(kind, object["spec"] ?? {}, settings),
  };
  const position = { file: `kubernetes:${settings.name} ${namespace}/${name}`, line: 0, column: 0 };
  const { resource, ...parsed } = parseDocumentValue(document, position, "kubernetes");
  if (resource === undefined) return parsed;
  const issues = [...parsed.issues, ...judgeAuthority(resource, settings)];
  return { ...parsed, issues, ...(isAcceptable(issues) ? { resource: { ...resource, confinedTo: settings.namespacePrefix } } : {}) };
}
