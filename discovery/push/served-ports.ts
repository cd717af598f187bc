import { isDeepStrictEqual } from "node:util";
import type { Change } from "../../base/collection.ts";
import type { Endpoint } from "../../model/endpoint.ts";
import type { ServiceKey } from "../../model/service.ts";
import type { WorkloadKey } from "../../model/workload.ts";

/** A port of a service, and the workload's own port behind it. */
export type ServedPort = Pick<Endpoint, "servicePort" | "port">;

/**
 * Which ports of which services each workload serves, from the endpoints. That
 * one of a service's endpoints fails or gets another weight is nothing to the others.
 */
export class ServedPorts {
  readonly #byWorkload = new Map<WorkloadKey, Map<ServiceKey, readonly ServedPort[]>>();

  /** @returns the workloads that serve other ports now */
  apply(changes: readonly Change<readonly Endpoint[]>[]): ReadonlySet<WorkloadKey> {
    const changed = new Set<WorkloadKey>();
    for (const { key: service, before = [], after = [] } of changes) {
      const served = Map.groupBy(after, ({ workload }) => workload);
      for (const workload of new Set([...before.map((endpoint) => endpoint.workload), ...served.keys()])) {
        const ports = served.get(workload)?.map(({ servicePort, port }) => ({ servicePort, port }));
        if (this.#replace(workload, service, ports)) changed.add(workload);
      }
    }
    return changed;
  }

  /** By service, in the order of their keys. */
  of(workload: WorkloadKey): readonly (readonly [ServiceKey, readonly ServedPort[]])[] {
    return [...(this.#byWorkload.get(workload) ?? [])].sort(([left], [right]) => (left < right ? -1 : 1));
  }

  #replace(workload: WorkloadKey, service: ServiceKey, ports: readonly ServedPort[] | undefined): boolean {
    const services = this.#byWorkload.get(workload);
    if (isDeepStrictEqual(services?.get(service), ports)) return false;
    if (ports === undefined) {
      services?.delete(service);
      if (services?.size === 0) this.#byWorkload.delete(workload);
    } else if (services === undefined) this.#byWorkload.set(workload, new Map([[service, ports]]));
    else services.set(service, ports);
    return true;
  }
}
