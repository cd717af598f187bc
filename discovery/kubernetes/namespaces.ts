/** Which of a cluster's namespaces are read, and what they are called in the mesh. */
export interface NamespaceSettings {
  /** As configured, unique in the mesh. */
  readonly name: string;
  /** Stands before each of the cluster's namespaces; absent: `<name>-`. */
  readonly namespacePrefix?: string | undefined;
  /** The cluster's namespaces to read; absent: all but the ignored ones. */
  readonly namespaces?: readonly string[] | undefined;
  readonly ignoredNamespaces?: readonly string[] | undefined;
}

/** The cluster's own machinery, which calls itself. */
const MACHINERY = ["kube-node-lease", "kube-public", "kube-system"];

/** True for a namespace to read, and for the empty one of what has no namespace. */
export function wantedNamespaces({ namespaces, ignoredNamespaces }: NamespaceSettings): (namespace: string) => boolean {
  const only = namespaces === undefined ? undefined : new Set(namespaces);
  const ignored = new Set(ignoredNamespaces ?? (only === undefined ? MACHINERY : []));
  return (namespace) => namespace === "" || (!ignored.has(namespace) && (only?.has(namespace) ?? true));
}

export function namespacePrefixOf({ name, namespacePrefix }: NamespaceSettings): string {
  return namespacePrefix ?? `${name}-`;
}

/** The mesh's namespace for one of the cluster's; undefined where it would be no DNS label. */
export function meshNamespace(namespace: string, { namespacePrefix }: { readonly namespacePrefix: string }): string | undefined {
  const mapped = `${namespacePrefix}${namespace}`;
  return mapped.length <= 63 ? mapped : undefined;
}
