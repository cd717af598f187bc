/** A namespace whose policies hold in others too. */
export interface RootNamespace {
  readonly namespace: string;
  /** Holds in the namespaces that begin so; empty: in all. */
  readonly prefix: string;
}

/** Whose policies hold in a namespace besides its own, the narrowest first. */
export function rootNamespacesOf(namespace: string, roots: readonly RootNamespace[]): string[] {
  return roots
    .filter((root) => namespace.startsWith(root.prefix) && root.namespace !== namespace)
    .sort((left, right) => right.prefix.length - left.prefix.length)
    .map((root) => root.namespace);
}
