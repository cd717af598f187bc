import type { ResourceKey } from "../../api/resource.ts";
import { formatPlace } from "../../base/issue.ts";
import type { Config } from "../../discovery/config/config.ts";

/** A resource that somebody wrote, as people find it. */
export interface Cause {
  /** `VirtualService/default/reviews` */
  readonly resource: ResourceKey;
  /** `reviews.yaml:7`, where its document begins. */
  readonly position: string;
}

/** Each of them once, with its place in the configuration that is in force. */
export function locateCauses(written: Pick<Config, "resources">, keys: Iterable<ResourceKey>): Cause[] {
  return [...new Set(keys)].map((resource) => {
    const position = written.resources.get(resource)?.position;
    return { resource, position: position === undefined ? "" : formatPlace(position) };
  });
}
