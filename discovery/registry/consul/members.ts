import type { RegistryService } from "../registry.ts";
import type { ConsulEntry } from "./entry.ts";

/** What an instance is told from all others of its Consul by. */
export function memberOf({ Node: node, Service: service }: ConsulEntry): string {
  return [node.Datacenter, node.Partition, service.Namespace, node.Node, service.ID].join("/");
}

/** The same of the instances of a service as it was read; undefined without one. Their keys begin with the registry's name. */
export function membersIn(service: RegistryService | undefined, registry: string): ReadonlySet<string> | undefined {
  return service?.backends.kind === "explicit" ? new Set(service.backends.workloads.map(({ key }) => key.slice(registry.length + 1))) : undefined;
}
