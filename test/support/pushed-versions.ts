import type { Push } from "../../discovery/push/push.ts";
import type { ResourceSet } from "../../xds/resource-set.ts";
import { HOSTS } from "./push-mesh.ts";

/** Everything that proxies are told: version by set, type and name. */
export function versionsOf(push: Push, exceptType = ""): Record<string, string> {
  const of = (owner: string, set: ResourceSet): [string, string][] =>
    [...set.types()].filter((typeUrl) => exceptType === "" || !typeUrl.endsWith(`.${exceptType}`)).flatMap((typeUrl) =>
      [...set.list(typeUrl)].map((one): [string, string] => [`${owner} ${typeUrl.slice(typeUrl.lastIndexOf(".") + 1)} ${one.name}`, one.version]),
    );
  const sets = [of("shared", push.shared), ...HOSTS.map((host) => of(host, push.setOf(host)))];
  return Object.fromEntries(sets.flat().sort(([left], [right]) => (left < right ? -1 : 1)));
}
