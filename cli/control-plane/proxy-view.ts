import type { ProxyView } from "../../discovery/http/api.ts";
import { TYPE_URLS } from "../../xds/type-urls.ts";
import { locateCauses } from "./causes.ts";
import type { ApiParts } from "./parts.ts";

/** The word that people use for a type: `ClusterLoadAssignment` → `endpoints`. */
const WORD_OF_TYPE: Readonly<Record<string, string>> = {
  [TYPE_URLS.cluster]: "clusters",
  [TYPE_URLS.clusterLoadAssignment]: "endpoints",
  [TYPE_URLS.listener]: "listeners",
  [TYPE_URLS.routeConfiguration]: "tables",
  [TYPE_URLS.virtualHost]: "routes",
  [TYPE_URLS.secret]: "secrets",
  [TYPE_URLS.nameRecord]: "names",
};

/** Every host that reported, with what its stream was sent and took. */
export function viewProxies({ hosts, port, push, written }: Pick<ApiParts, "hosts" | "port" | "push" | "written">): ProxyView[] {
  // A host's newest comes last.
  const streams = new Map(port.streams().map((stream) => [port.hostOf(stream.id), stream]));
  const shared = new Map<string, number>();
  const sharedSize = (typeUrl: string): number => {
    const size = shared.get(typeUrl) ?? sizeOf(push.shared.list(typeUrl));
    shared.set(typeUrl, size);
    return size;
  };
  return [...hosts.hosts.entries().values()].map(({ hostId, report }) => {
    const stream = streams.get(hostId);
    const types = (stream?.types ?? []).flatMap(({ typeUrl, state, rejected, lastNack }) => {
      const word = WORD_OF_TYPE[typeUrl];
      if (word === undefined) return [];
      // The agent's relay may refuse a resource, and so may Envoy behind it.
      const refused = port.rejectionsOf(hostId).filter((rejection) => rejection.typeUrl === typeUrl);
      const names = [...rejected, ...refused].map(({ name }) => name);
      const words = [...(state === "REJECTED" ? [lastNack?.message ?? ""] : []), ...refused.map(({ name, message }) => `${name}: ${message}`)];
      return [
        {
          type: word,
          state: refused.length > 0 ? ("REJECTED" as const) : state,
          resources: sizeOf(push.setOf(hostId).list(typeUrl)) + sharedSize(typeUrl),
          error: words.join("; "),
          causes: locateCauses(written, names.flatMap((name) => push.causesOf(hostId, typeUrl, name))),
        },
      ];
    });
    return { host: hostId, hostName: report.hostName, connected: stream !== undefined, types };
  });
}

function sizeOf(items: Iterable<unknown>): number {
  let size = 0;
  for (const _ of items) size += 1;
  return size;
}
