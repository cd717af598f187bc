/** Where a piece of the catalog came from, for people and for precedence. */
export interface Source {
  /** The registry's configured name: `static`, `consul`, `hosts`. */
  readonly registry: string;
  /** The object in it, in the registry's own words: `dc1/web`, `mesh.yaml:12`. */
  readonly object: string;
}
