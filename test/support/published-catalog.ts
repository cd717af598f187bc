import { SourceCollection } from "../../base/collection.ts";
import type { Endpoint } from "../../model/endpoint.ts";
import type { Service } from "../../model/service.ts";
import { type Health, NO_LOCALITY, type Workload } from "../../model/workload.ts";

/** A service of the mesh with one port. */
export function meshService(name: string, changes: Partial<Service> = {}): Service {
  return {
    namespace: "default",
    name,
    hostname: `${name}.default.svc.mesh.internal`,
    aliases: [],
    ports: [{ name: "http", number: 80, protocol: "HTTP" }],
    resolution: "static",
    external: false,
    vips: [],
    labels: {},
    subjectAltNames: [],
    exportTo: ["*"],
    source: { registry: "static", object: name },
    ...changes,
  };
}

/** An enrolled host's answer to that port. */
export function hostEndpoint(host: string, address: string, changes: Partial<Endpoint> = {}): Endpoint {
  return {
    servicePort: 80,
    address,
    port: 8_080,
    workload: `hosts/${host}/app`,
    workloadName: `app.${host}`,
    labels: {},
    locality: NO_LOCALITY,
    network: "",
    weight: 1,
    health: "healthy",
    meshed: true,
    source: { registry: "hosts", object: `${host}/app` },
    ...changes,
  };
}

/** The collections that a catalog has, as a test fills them. */
export class PublishedCatalog {
  readonly services = new SourceCollection<Service>();
  readonly endpoints = new SourceCollection<readonly Endpoint[]>();
  readonly workloads = new SourceCollection<Workload>();

  put(service: Service, endpoints: readonly Endpoint[]): void {
    const key = `${service.namespace}/${service.name}`;
    this.services.apply([[key, service]]);
    this.endpoints.apply([[key, endpoints]]);
  }

  remove(key: string): void {
    this.services.apply([[key, undefined]]);
    this.endpoints.apply([[key, undefined]]);
  }

  setHealth(key: string, host: string, health: Health): void {
    const changed = (this.endpoints.get(key) ?? []).map((endpoint) => (endpoint.workload === `hosts/${host}/app` ? { ...endpoint, health } : endpoint));
    this.endpoints.apply([[key, changed]]);
  }
}
