import type { ResourceOf } from "../../api/resource.ts";
import { familyOf, isWithin } from "../../model/address.ts";
import { isHttp, type ServicePort } from "../../model/port.ts";
import type { Service } from "../../model/service.ts";
import { buildClusters } from "./build-cluster.ts";
import { buildDefaultRoutes, buildRoutes, destinationCluster } from "./build-route.ts";
import type { MeshView } from "./mesh-view.ts";
import { outboundClusterName, tcpRouteName, validationSecretName, virtualHostName } from "./names.ts";
import type { OutboundServiceIr, TcpRouteIr } from "./outbound.ts";
import type { VirtualHostIr } from "./route.ts";

/** All that one service contributes to the outbound side of the proxies that see it. */
export function buildOutboundService(service: Service, view: MeshView): OutboundServiceIr {
  const rule = view.destinationRule(service.hostname);
  const virtualService = view.virtualService(service.hostname);
  const dnsEndpoints = service.resolution === "dns" ? view.dnsEndpoints(service.hostname) : [];
  return {
    hostname: service.hostname,
    clusters: service.ports.flatMap((port) => buildClusters(service, port, rule, dnsEndpoints)),
    virtualHosts: service.ports
      .filter((port) => isHttp(port.protocol))
      .flatMap((port) => buildVirtualHosts(service, port, virtualService, view)),
    tcpRoutes: service.ports
      .filter((port) => !isHttp(port.protocol))
      .flatMap((port) => buildTcpRoutes(service, port, virtualService, view)),
    ...(service.external
      ? {}
      : {
          validation: {
            name: validationSecretName(service.hostname),
            identities: view.identities(service.hostname),
            trustBundles: view.trustBundles(),
          },
        }),
  };
}

/** None where the service owns no domain: somebody with precedence has them. */
function buildVirtualHosts(
  service: Service,
  port: ServicePort,
  virtualService: ResourceOf<"VirtualService"> | undefined,
  view: MeshView,
): VirtualHostIr[] {
  const domains = view.domains(service.hostname, port.number).map(asDomain).sort();
  if (domains.length === 0) return [];
  const spoken = virtualService?.spec.http === undefined ? undefined : buildRoutes(virtualService, port.number, view);
  const routes = spoken ?? buildDefaultRoutes(service, port);
  return reachesOf(service, view).map((reach) => ({
    port: port.number,
    reach,
    name: virtualHostName(service.hostname, port.number),
    domains,
    routes,
  }));
}

/**
 * A name of the mesh's own domain is always dialed by a virtual address. A host
 * that somebody declared is dialed by the addresses that DNS or the declaration
 * gives it, of which the listener knows the port only.
 */
function reachesOf({ hostname, vips }: Service, { meshDomain, vipRanges }: MeshView): VirtualHostIr["reach"][] {
  const virtual = vips.filter((address) => isWithin(address, vipRanges));
  const isOutside = virtual.length < vips.length || (vips.length === 0 && !hostname.endsWith(`.${meshDomain}`));
  return [...(virtual.length > 0 || !isOutside ? ["mesh" as const] : []), ...(isOutside ? ["outside" as const] : [])];
}

/** An IPv6 address stands in brackets in a Host header. */
function asDomain(name: string): string {
  return familyOf(name) === "ipv6" ? `[${name}]` : name;
}

function buildTcpRoutes(
  service: Service,
  port: ServicePort,
  virtualService: ResourceOf<"VirtualService"> | undefined,
  view: MeshView,
): TcpRouteIr[] {
  // A wildcard address would take connections that are not the mesh's: such a port has SNI or nothing.
  const serverNames = port.protocol === "TLS" && service.vips.length === 0 ? [service.hostname] : [];
  if (service.vips.length === 0 && serverNames.length === 0) return [];
  const common = { addresses: service.vips, port: port.number };
  const spoken = spokenTcpRoutes(port, virtualService, view);
  const whole = [{ cluster: outboundClusterName(port.number, "", service.hostname), weight: 1 }];
  const routes = spoken.length > 0 ? spoken : [{ serverNames, clusters: whole }];
  return routes.map((route, index) => ({ ...common, ...route, name: tcpRouteName(port.number, service.hostname, index) }));
}

function spokenTcpRoutes(
  port: ServicePort,
  virtualService: ResourceOf<"VirtualService"> | undefined,
  view: MeshView,
): Pick<TcpRouteIr, "serverNames" | "clusters">[] {
  if (virtualService === undefined) return [];
  const { spec } = virtualService;
  const weighted = (routes: NonNullable<NonNullable<typeof spec.tcp>[number]["route"]>): TcpRouteIr["clusters"] =>
    routes.map((route) => ({
      cluster: destinationCluster(route.destination, virtualService, port.number, view),
      weight: routes.length === 1 ? 1 : (route.weight ?? 0),
    }));
  if (port.protocol === "TLS") {
    const matched = (spec.tls ?? []).flatMap((route) => route.match.filter((match) => match.port === undefined || match.port === port.number).map(({ sniHosts }) => ({ sniHosts, route })));
    // The first that names a server has it; a name that stands twice, Envoy refuses.
    const taken = new Set<string>();
    return matched.flatMap(({ sniHosts, route }) => {
      const serverNames = [...new Set(sniHosts)].filter((name) => !taken.has(name));
      for (const name of serverNames) taken.add(name);
      return serverNames.length === 0 && sniHosts.length > 0 ? [] : [{ serverNames, clusters: weighted(route.route ?? []) }];
    });
  }
  const first = (spec.tcp ?? []).find(
    (route) => route.match === undefined || route.match.some((match) => match.port === undefined || match.port === port.number),
  );
  return first === undefined ? [] : [{ serverNames: [], clusters: weighted(first.route ?? []) }];
}
