import { isDeepStrictEqual } from "node:util";
import type { OutboundServiceIr, OutboundShapeIr, TcpRouteIr } from "../ir/outbound.ts";
import type { VirtualHostIr } from "../ir/route.ts";

/**
 * Sums up what the services of a scope ask of its outbound listeners, service
 * by service. Most changes leave it as it is, and then no listener is touched.
 */
export class OutboundShape {
  /** How many virtual hosts use each HTTP port, for either reach. */
  readonly #users: Readonly<Record<VirtualHostIr["reach"], Map<number, number>>> = { mesh: new Map(), outside: new Map() };
  readonly #services = new Map<string, Pick<OutboundServiceIr, "virtualHosts" | "tcpRoutes">>();

  /** True where the listeners must change. */
  apply(key: string, ir: OutboundServiceIr | undefined): boolean {
    const before = this.#services.get(key);
    const portsBefore = this.#ports();
    for (const host of ir?.virtualHosts ?? []) this.#count(host, 1);
    for (const host of before?.virtualHosts ?? []) this.#count(host, -1);
    if (ir === undefined) this.#services.delete(key);
    else this.#services.set(key, ir);
    const tcpChanged = JSON.stringify(before?.tcpRoutes ?? []) !== JSON.stringify(ir?.tcpRoutes ?? []);
    return tcpChanged || !isDeepStrictEqual(portsBefore, this.#ports());
  }

  build(options: Pick<OutboundShapeIr, "vipRanges" | "unknownDestinations">): OutboundShapeIr {
    const tcpRoutes: TcpRouteIr[] = [];
    for (const service of this.#services.values()) tcpRoutes.push(...service.tcpRoutes);
    return {
      ...options,
      ...this.#ports(),
      tcpRoutes: tcpRoutes.sort((left, right) => (left.name < right.name ? -1 : 1)),
    };
  }

  #ports(): Pick<OutboundShapeIr, "httpPorts" | "outsideHttpPorts"> {
    return { httpPorts: sorted(this.#users.mesh.keys()), outsideHttpPorts: sorted(this.#users.outside.keys()) };
  }

  #count({ reach, port }: VirtualHostIr, change: 1 | -1): void {
    const users = (this.#users[reach].get(port) ?? 0) + change;
    if (users > 0) this.#users[reach].set(port, users);
    else this.#users[reach].delete(port);
  }
}

function sorted(numbers: Iterable<number>): number[] {
  return [...numbers].sort((a, b) => a - b);
}
