import type { AnyResource, Kind, Specs } from "../api/resource.ts";
import type { HostReport, WorkloadReport } from "../discovery/registry/agents/report.ts";
import type { RegistryService } from "../discovery/registry/registry.ts";
import { NO_LOCALITY, type Workload } from "../model/workload.ts";
import { endpointAddress, SERVICE_PORT, serviceName, type Size } from "./registry-source.ts";

/** What the benchmark registers where there is no other program: YAML as it was accepted, and reports of hosts. */

export function written<K extends Kind>(kind: K, name: string, spec: Specs[K]): AnyResource {
  const metadata = { name, namespace: "default", labels: {}, annotations: {} };
  return { apiVersion: "", kind, metadata, spec, position: { file: "bench.yaml", line: 1, column: 1 }, origin: "files" } as AnyResource;
}

/** Services by selector, each followed by its WorkloadEntries where `withEntries`; the generation is that of the first one's address. */
export function servicesOf({ services, endpoints }: Size, withEntries: boolean, first = 0, generation = 0): AnyResource[] {
  return Array.from({ length: services }, (_, offset) => {
    const app = serviceName(first + offset);
    const entries = Array.from({ length: withEntries ? endpoints : 0 }, (_none, replica) =>
      written("WorkloadEntry", `${app}-${replica}`, { address: endpointAddress(first + offset, replica, replica === 0 ? generation : 0), labels: { app } }),
    );
    return [written("Service", app, { selector: { app }, ports: [{ name: "http", port: SERVICE_PORT }] }), ...entries];
  }).flat();
}

/** Services with their instances, as Consul and Kubernetes tell them, by id. */
export function instancesOf({ services, endpoints }: Size): ReadonlyMap<string, RegistryService> {
  const all = Array.from({ length: services }, (_, at): RegistryService => {
    const [name, namespace] = [serviceName(at), "told"];
    const workloads = Array.from({ length: endpoints }, (_none, replica): Workload => {
      const source = { registry: "told", object: `node-${replica}/${name}-${replica}` };
      return {
        key: `told/${source.object}`,
        namespace,
        name: `${name}-${replica}`,
        addresses: [endpointAddress(at, replica)],
        ports: { "": SERVICE_PORT },
        labels: { version: "1" },
        serviceAccount: "default",
        locality: NO_LOCALITY,
        network: "",
        weight: 1,
        health: "healthy",
        meshed: false,
        source,
      };
    });
    return {
      namespace,
      name,
      claim: "canonical",
      hostname: `${name}.${namespace}.svc.mesh.internal`,
      aliases: [`${name}.service.consul`],
      ports: [{ name: "", number: SERVICE_PORT, protocol: "HTTP" }],
      resolution: "static",
      external: true,
      addresses: [],
      labels: {},
      subjectAltNames: [],
      exportTo: ["*"],
      backends: { kind: "explicit", workloads },
      allowsPlaintext: false,
      notes: [],
      source: { registry: "told", object: `dc1/${name}` },
    };
  });
  return new Map(all.map((one) => [one.name, one]));
}

/** A group for each service. */
export function groupsOf({ services }: Size): AnyResource[] {
  return Array.from({ length: services }, (_, index) => {
    const app = serviceName(index);
    return written("WorkloadGroup", app, { metadata: { labels: { app } }, template: { serviceAccount: app, ports: { http: SERVICE_PORT } } });
  });
}

export interface ReportingHost {
  readonly hostId: string;
  readonly report: HostReport;
}

/** As many hosts as services, each with as many workloads as a service has endpoints: no two of a service on one host. */
export function hostsOf(size: Size): ReportingHost[] {
  return Array.from({ length: size.services }, (_, index) => hostReportOf(size, index, 0));
}

/** The host with the service's first endpoint, whose health is the generation's. */
export function hostReportOf({ services, endpoints }: Size, index: number, generation: number): ReportingHost {
  const stride = Math.max(1, Math.floor(services / endpoints));
  const workloads = Array.from({ length: endpoints }, (_, replica): WorkloadReport => {
    const service = serviceName((index + replica * stride) % services);
    const isHealthy = replica > 0 || generation % 2 === 0;
    return {
      name: service,
      group: `default/${service}`,
      addresses: [endpointAddress(index, replica)],
      ports: { http: SERVICE_PORT },
      health: isHealthy ? "healthy" : "unhealthy",
      healthDetail: isHealthy ? "" : "GET /healthz answered 503",
      outboundPort: 15_101 + replica,
    };
  });
  return { hostId: `host-${index}`, report: reportOf(workloads) };
}

/** The host that the simulated proxy is on. */
export function clientReport(): HostReport {
  return reportOf([{ name: "client", group: "default/client", addresses: ["172.31.0.1"], ports: {}, health: "healthy", healthDetail: "", outboundPort: 15_101 }]);
}

function reportOf(workloads: readonly WorkloadReport[]): HostReport {
  const facts = { os: "debian 12", kernel: "6.1", architecture: "x64", cpus: 2, memoryBytes: 4e9, addresses: [], locality: "eu/eu-1", capture: "nft", bootedAt: "2026-01-01T00:00:00Z" };
  return { hostName: "", agentVersion: "0.1.0", envoyVersion: "1.40.0", inboundPort: 15_006, workloads, facts };
}
