import type { RegistryService } from "../registry.ts";
import type { ConsulEntry } from "./entry.ts";

/** Node and id of instances. */
type Places = Set<string>;

/** Which instances have a sidecar of Consul's own mesh beside them. */
export class Sidecars {
  /** Service → service of its sidecars (nearly always one) → the instances that they belong to. */
  readonly #paired = new Map<string, Map<string, Places>>();
  /** Service of sidecars → the services that they belong to. */
  readonly #owners = new Map<string, ReadonlySet<string>>();

  /** Takes what a service holds now, of whatever kind; gives the services whose sidecars it had or has. */
  set(service: string, entries: readonly ConsulEntry[]): readonly string[] {
    const before = this.#owners.get(service) ?? new Set();
    for (const owner of before) this.#leave(owner, service);
    const owners = new Set<string>();
    for (const { Node: node, Service: { Kind: kind, Proxy: proxy } } of entries) {
      if (kind !== "connect-proxy" || proxy === null || proxy === undefined || proxy.DestinationServiceName === "") continue;
      owners.add(proxy.DestinationServiceName);
      this.#placesOf(proxy.DestinationServiceName, service).add(`${node.Node}/${proxy.DestinationServiceID}`);
    }
    if (owners.size > 0) this.#owners.set(service, owners);
    else this.#owners.delete(service);
    return [...new Set([...before, ...owners])];
  }

  /** The service with a note that says how many of its instances have one. */
  describe(name: string, service: RegistryService): RegistryService {
    const paired = [...(this.#paired.get(name)?.values() ?? [])];
    if (service.backends.kind !== "explicit" || paired.length === 0) return service;
    const { workloads } = service.backends;
    const count = workloads.filter(({ key }) => isIn(paired, key.split("/").slice(4).join("/"))).length;
    if (count === 0) return service;
    const note = `${count} of ${workloads.length} instances have a Connect sidecar: the mesh calls the application's own port`;
    return { ...service, notes: [...new Set([...service.notes, note])].sort() };
  }

  #placesOf(owner: string, service: string): Places {
    const services = this.#paired.get(owner) ?? new Map<string, Places>();
    this.#paired.set(owner, services);
    const places = services.get(service) ?? new Set();
    services.set(service, places);
    return places;
  }

  #leave(owner: string, service: string): void {
    const services = this.#paired.get(owner);
    services?.delete(service);
    if (services?.size === 0) this.#paired.delete(owner);
  }
}

function isIn(paired: readonly Places[], place: string): boolean {
  return paired.some((places) => places.has(place));
}
