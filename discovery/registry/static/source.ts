import { basename } from "node:path";
import type { AnyResource } from "../../../api/resource.ts";
import { formatPlace } from "../../../base/issue.ts";
import type { Source } from "../../../model/source.ts";

/** The static registry's name in sources and status. */
export const STATIC_REGISTRY = "static";

/** `reviews.yaml:12` */
export function sourceOf(resource: AnyResource): Source {
  const { position } = resource;
  // What has no lines is no file either: its name is not a path.
  return { registry: STATIC_REGISTRY, object: position.line === 0 ? position.file : formatPlace({ ...position, file: basename(position.file) }) };
}
