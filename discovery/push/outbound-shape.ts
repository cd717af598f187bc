import type { OutboundServiceIr, OutboundShapeIr, TcpRouteIr } from "../ir/outbound.ts";

/**
 * Sums up what the services of a scope ask of its outbound listeners, service
 * by service. Most changes leave it as it is, and then no listener is touched.
 */
export class OutboundShape {
  /** How many services use each HTTP port. */
  readonly #httpPorts = new Map<number, number>();
  readonly #services = new Map<string, Pick<OutboundServiceIr, "virtualHosts" | "tcpRoutes">>();

  /** True where the listeners must change. */
  apply(key: string, ir: OutboundServiceIr | undefined): boolean {
    const before = this.#services.get(key);
    const portsBefore = this.#httpPorts.size;
    let portsChanged = false;
    for (const port of portsOf(ir)) {
      const users = this.#httpPorts.get(port) ?? 0;
      if (users === 0) portsChanged = true;
      this.#httpPorts.set(port, users + 1);
    }
    for (const port of portsOf(before)) {
      const users = this.#httpPorts.get(port) ?? 0;
      if (users > 1) this.#httpPorts.set(port, users - 1);
      else this.#httpPorts.delete(port);
    }
    if (ir === undefined) this.#services.delete(key);
    else this.#services.set(key, ir);
    const tcpChanged = JSON.stringify(before?.tcpRoutes ?? []) !== JSON.stringify(ir?.tcpRoutes ?? []);
    return portsChanged || this.#httpPorts.size !== portsBefore || tcpChanged;
  }

  build(options: Pick<OutboundShapeIr, "vipRanges" | "unknownDestinations">): OutboundShapeIr {
    const tcpRoutes: TcpRouteIr[] = [];
    for (const service of this.#services.values()) tcpRoutes.push(...service.tcpRoutes);
    return {
      ...options,
      httpPorts: [...this.#httpPorts.keys()].sort((a, b) => a - b),
      tcpRoutes: tcpRoutes.sort((left, right) => (left.name < right.name ? -1 : 1)),
    };
  }
}

function portsOf(ir: Pick<OutboundServiceIr, "virtualHosts"> | undefined): number[] {
  return (ir?.virtualHosts ?? []).map((host) => Number(host.table));
}
