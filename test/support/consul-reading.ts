import { systemClock } from "../../base/clock.ts";
import { createConsulRegistry } from "../../discovery/registry/consul/registry.ts";
import type { ConsulRegistryOptions } from "../../discovery/registry/consul/registry.ts";
import type { Registry, RegistryService } from "../../discovery/registry/registry.ts";
import type { Workload } from "../../model/workload.ts";
import type { Registration } from "./consul-agent.ts";
import type { SampleInstance } from "./registry-conformance.ts";

export const FAST = { waitMs: 5_000, intervalMs: 20, resetHoldMs: 500, backoff: { baseMs: 20, maxMs: 200 } };

/** A registry that reads a Consul, started. Whoever asked for it closes it. */
export async function startedRegistry(address: string, changes: Partial<ConsulRegistryOptions> = {}): Promise<Registry> {
  const registry = createConsulRegistry({ name: "consul", namespace: "consul", meshDomain: "mesh.internal", address, clock: systemClock, pacing: FAST, ...changes });
  registry.start();
  return registry;
}

export function registration(service: string, { id, port, isHealthy }: SampleInstance): Registration {
  return { ID: `${service}-${id}`, Name: service, Address: "10.0.0.1", Port: port, Check: { TTL: "1h", Name: "probe", Status: isHealthy ? "passing" : "critical" } };
}

export function instancesOf(service: RegistryService | undefined): readonly Workload[] {
  return service?.backends.kind === "explicit" ? service.backends.workloads : [];
}
