/** What of a registry's configuration says whose names its services have. */
export interface NamedRegistry {
  readonly kind: "consul" | "kubernetes";
  readonly name: string;
  /** Of a registry with one namespace of the mesh. */
  readonly namespace?: string;
  /** Of a registry with many. */
  readonly namespacePrefix?: string | undefined;
  /** Of its native names. */
  readonly clusterDomain?: string;
}

export interface RegistryConflict {
  /** Of the later one, of two. */
  readonly index: number;
  readonly message: string;
}

/** The mesh's own registries, of YAML and of hosts. */
const OWN_NAMES: readonly string[] = ["static", "hosts"];

/**
 * Registries that could claim each other's names: each has namespaces of its
 * own, so that whoever may write to one takes nothing of another.
 */
export function findRegistryConflicts(registries: readonly NamedRegistry[], mesh: { readonly domain: string; readonly rootNamespace: string }): RegistryConflict[] {
  return registries.flatMap((registry, index) => {
    const { clusterDomain = "" } = registry;
    if (clusterDomain === mesh.domain || clusterDomain.endsWith(`.${mesh.domain}`)) return [{ index, message: `its clusterDomain lies in the mesh's own domain ${mesh.domain}` }];
    // What its cluster says there would hold in the whole mesh.
    if (registry.kind === "kubernetes" && beginningOf(registry) !== "" && mesh.rootNamespace.startsWith(beginningOf(registry))) return [{ index, message: `its namespaces (${namespacesOf(registry)}) may be the mesh's root namespace ${mesh.rootNamespace}: give it another namespacePrefix` }];
    if (OWN_NAMES.includes(registry.name)) return [{ index, message: `the name ${registry.name} is the mesh's own` }];
    const earlier = registries.slice(0, index);
    if (earlier.some(({ name }) => name === registry.name)) return [{ index, message: `another registry has the name ${registry.name}` }];
    const other = earlier.find((one) => canShareNamespace(one, registry));
    return other === undefined ? [] : [{ index, message: `its namespaces (${namespacesOf(registry)}) may be those of ${other.name} (${namespacesOf(other)}): give it another ${registry.kind === "consul" ? "namespace" : "namespacePrefix"}` }];
  });
}

function canShareNamespace(left: NamedRegistry, right: NamedRegistry): boolean {
  // Two names of one datacenter each may be meant: Consul's services have no namespaces to keep apart.
  if (left.kind === "consul" && right.kind === "consul") return false;
  const [first, second] = [beginningOf(left), beginningOf(right)];
  if (left.kind === "kubernetes" && right.kind === "kubernetes") return first.startsWith(second) || second.startsWith(first);
  return left.kind === "kubernetes" ? second.startsWith(first) : first.startsWith(second);
}

/** What every namespace of a registry begins with: all of it, for Consul. */
export function beginningOf({ kind, name, namespace, namespacePrefix }: NamedRegistry): string {
  return kind === "consul" ? (namespace ?? "") : (namespacePrefix ?? `${name}-`);
}

function namespacesOf(registry: NamedRegistry): string {
  return registry.kind === "consul" ? beginningOf(registry) : `${beginningOf(registry)}…`;
}
