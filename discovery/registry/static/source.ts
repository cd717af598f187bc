import { basename } from "node:path";
import type { AnyResource } from "../../../api/resource.ts";
import type { Source } from "../../../model/source.ts";

/** The static registry's name in sources and status. */
export const STATIC_REGISTRY = "static";

/** `reviews.yaml:12` */
export function sourceOf(resource: AnyResource): Source {
  const { file, line } = resource.position;
  return { registry: STATIC_REGISTRY, object: `${basename(file)}:${line}` };
}
