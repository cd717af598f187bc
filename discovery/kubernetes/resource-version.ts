import { kubernetesFailure } from "./failure.ts";

/**
 * Orders two resource versions of one kind: decimal numbers of any length.
 * Source: kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
 *
 * @returns below 0: `left` is older; 0: the same; above 0: newer
 */
export function compareVersions(left: string, right: string): number {
  if (left.length !== right.length) return left.length - right.length;
  return left === right ? 0 : left < right ? -1 : 1;
}

/** Throws `MESH_REGISTRY_MALFORMED` for what is no version: nothing could be resumed from it. */
export function mustBeVersion(text: string): string {
  if (!/^[1-9][0-9]*$/.test(text)) throw kubernetesFailure("MESH_REGISTRY_MALFORMED", `kubernetes gives no resource version that can be ordered: ${JSON.stringify(text)}`);
  return text;
}
