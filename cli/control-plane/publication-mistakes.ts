/** What of a registry's configuration says what is published in it. */
export interface PublishingRegistry {
  readonly kind: string;
  readonly name: string;
  readonly publish?: { readonly from: readonly string[] } | undefined;
}

export interface PublicationMistake {
  /** Below `registries`. */
  readonly path: readonly (string | number)[];
  readonly message: string;
}

/** Registries of the mesh itself. */
const OWN_REGISTRIES = ["static", "hosts"];

/** Publications out of registries that there are not, or out of the Consul that they go into. */
export function findPublicationMistakes(registries: readonly PublishingRegistry[]): PublicationMistake[] {
  const known = [...OWN_REGISTRIES, ...registries.map(({ name }) => name)];
  return registries.flatMap(({ name, publish }, index) =>
    (publish?.from ?? []).flatMap((source, at) => {
      const path = [index, "publish", "from", at];
      if (source === name) return [{ path, message: "a Consul's own services are not published in it again" }];
      return known.includes(source) ? [] : [{ path, message: `there is no registry ${source}; there are ${known.filter((one) => one !== name).join(", ")}` }];
    }),
  );
}
