import type { RegistryService } from "../registry.ts";
import type { ConsulEntry } from "./entry.ts";

/** Which instances have a sidecar of Consul's own mesh beside them, by the sidecars' services. */
export class Sidecars {
  /** Service of sidecars → service → node and id of the instances that they belong to. */
  readonly #paired = new Map<string, ReadonlyMap<string, ReadonlySet<string>>>();

  /** Takes what a service holds now, of whatever kind; gives the services whose sidecars it had or has. */
  set(service: string, entries: readonly ConsulEntry[]): readonly string[] {
    const before = this.#paired.get(service);
    const next = new Map<string, Set<string>>();
    for (const { Node: node, Service: { Kind: kind, Proxy: proxy } } of entries) {
      if (kind !== "connect-proxy" || proxy === null || proxy === undefined || proxy.DestinationServiceName === "") continue;
      const instances = next.get(proxy.DestinationServiceName) ?? new Set();
      next.set(proxy.DestinationServiceName, instances.add(`${node.Node}/${proxy.DestinationServiceID}`));
    }
    if (next.size > 0) this.#paired.set(service, next);
    else this.#paired.delete(service);
    return [...new Set([...(before?.keys() ?? []), ...next.keys()])];
  }

  /** The service with a note that says how many of its instances have one. */
  describe(name: string, service: RegistryService): RegistryService {
    if (service.backends.kind !== "explicit") return service;
    const paired = new Set([...this.#paired.values()].flatMap((instances) => [...(instances.get(name) ?? [])]));
    if (paired.size === 0) return service;
    const { workloads } = service.backends;
    const count = workloads.filter(({ key }) => paired.has(key.split("/").slice(4).join("/"))).length;
    if (count === 0) return service;
    const note = `${count} of ${workloads.length} instances have a Connect sidecar: the mesh calls the application's own port`;
    return { ...service, notes: [...new Set([...service.notes, note])].sort() };
  }
}
