import { z } from "zod";
import type { KindDefinition } from "../../../api/kinds.ts";
import type { KubernetesClient, KubernetesKind } from "../../kubernetes/client.ts";
import { kubernetesFailure } from "../../kubernetes/failure.ts";

/** Kinds that are configuration in a cluster too: Istio's. Its core Services are the registry's. */
export function isIstios({ group }: KindDefinition): boolean {
  return group.endsWith(".istio.io");
}

const groupSchema = z.object({
  versions: z.array(z.object({ version: z.string() })),
  preferredVersion: z.object({ version: z.string() }).optional(),
});
const versionSchema = z.object({ resources: z.array(z.object({ name: z.string() })) });

/**
 * Where a cluster serves a kind: in its preferred one of the versions that the
 * mesh reads, which has all objects, whatever version they were written in.
 *
 * @returns undefined where the kind is not installed, or in no such version
 */
export async function findServed(client: KubernetesClient, { group, plural, versions }: KindDefinition, signal: AbortSignal): Promise<KubernetesKind | undefined> {
  const said = await client.describe(`/apis/${group}`, signal);
  if (said === undefined) return undefined;
  const { versions: served, preferredVersion } = parse(groupSchema, said, group);
  const ordered = new Set([...(preferredVersion === undefined ? [] : [preferredVersion.version]), ...served.map(({ version }) => version)]);
  for (const version of ordered) {
    if (!versions.includes(version)) continue;
    const resources = await client.describe(`/apis/${group}/${version}`, signal);
    if (resources === undefined) continue;
    if (parse(versionSchema, resources, group).resources.some(({ name }) => name === plural)) return { path: `/apis/${group}/${version}/${plural}` };
  }
  return undefined;
}

function parse<T>(schema: z.ZodType<T>, said: unknown, group: string): T {
  const parsed = schema.safeParse(said);
  if (!parsed.success) throw kubernetesFailure("MESH_REGISTRY_MALFORMED", `what the cluster says of its API ${group} cannot be read`);
  return parsed.data;
}
