import { CodedError } from "../../base/coded-error.ts";
import type { ServiceKey } from "../../model/service.ts";
import type { ServiceDescriptionView } from "../../discovery/http/api.ts";
import { locateCauses } from "./causes.ts";
import type { ApiParts } from "./parts.ts";
import { viewRegistry } from "./registry-view.ts";

type Parts = Pick<ApiParts, "catalog" | "registries" | "written" | "push">;

/**
 * Why a service is as it is; undefined for one that nobody registered.
 *
 * @param word any name that it is reached by, `NAMESPACE/NAME`, or a bare name that one service alone has
 * @throws CodedError MESH_SERVICE_AMBIGUOUS
 */
export function viewDescription(parts: Parts, word: string): ServiceDescriptionView | undefined {
  const { catalog, registries, written, push } = parts;
  const key = serviceMeant(catalog, word);
  const description = key === undefined ? undefined : catalog.describe(key);
  if (key === undefined || description === undefined) return undefined;
  const named = new Set([...description.members.map(({ source }) => source.registry), ...description.endpoints.map(({ source }) => source.registry)]);
  return {
    ...description,
    registries: registries.filter(({ name }) => named.has(name)).map((registry) => viewRegistry(registry, catalog)),
    configuration: locateCauses(written, push.causesOfService(key)),
  };
}

/** As `viewDescription` takes it: names are those of DNS, of whatever case. */
export function serviceMeant(catalog: ApiParts["catalog"], written: string): ServiceKey | undefined {
  const word = written.toLowerCase();
  if (word.includes("/")) return word;
  const named = catalog.names.find(word);
  if (named !== undefined) return named;
  const keys = [...catalog.services.entries()].filter(([, { name }]) => name === word).map(([key]) => key).sort();
  if (keys.length > 1) throw new CodedError("MESH_SERVICE_AMBIGUOUS", `several services are called ${word}`, { hint: `say which: ${keys.slice(0, 10).join(", ")}` });
  return keys[0];
}
