import { SourceCollection } from "../../base/collection.ts";
import type { Registry, RegistryService, RegistryStatus, WorkloadTemplate } from "../../discovery/registry/registry.ts";
import type { Workload } from "../../model/workload.ts";

/** A registry whose content the test writes. */
export class PlainRegistry implements Registry {
  readonly services = new SourceCollection<RegistryService>();
  readonly workloads = new SourceCollection<Workload>();
  readonly templates = new SourceCollection<WorkloadTemplate>();
  readonly name: string;
  readonly servicesStandAlone: boolean;
  constructor(name: string, servicesStandAlone = false) {
    this.name = name;
    this.servicesStandAlone = servicesStandAlone;
  }
  start(): void {}
  close(): void {}
  status(): RegistryStatus {
    return { name: this.name, kind: "consul", synced: true, services: 0, workloads: 0, notes: [] };
  }
}

/** What an enrolled host reports. */
export function meshedWorkload(id: string, changes: Partial<Workload> = {}): Workload {
  return {
    key: `hosts/${id}`,
    namespace: "default",
    name: id,
    addresses: [`10.0.0.${Number.parseInt(id, 10) % 250}`],
    ports: { http: 9_080 },
    labels: { app: "reviews" },
    serviceAccount: "reviews",
    locality: { region: "", zone: "", subZone: "" },
    network: "",
    weight: 1,
    health: "healthy",
    meshed: true,
    source: { registry: "hosts", object: id },
    ...changes,
  };
}

/** A service as Consul would tell it, with one instance. */
export function foreignService(namespace: string, name: string, changes: Partial<RegistryService> = {}): RegistryService {
  const { source = { registry: "consul", object: `dc1/${name}` } } = changes;
  const workload = { ...plainWorkload("172.16.0.1", { namespace, ports: { "": 8_080 }, source }), key: `${source.registry}/${name}` };
  return {
    namespace,
    name,
    claim: "canonical",
    hostname: `${name}.${namespace}.svc.mesh.internal`,
    aliases: [`${name}.service.consul`],
    ports: [{ name: "", number: 80, protocol: "HTTP" }],
    resolution: "static",
    external: true,
    addresses: [],
    labels: {},
    subjectAltNames: [],
    exportTo: ["*"],
    backends: { kind: "explicit", workloads: [workload] },
    allowsPlaintext: false,
    notes: [],
    source,
    ...changes,
  };
}

/** An instance without a proxy of ours. */
export function plainWorkload(address: string, changes: Partial<Workload> = {}): Workload {
  const { source = { registry: "consul", object: address } } = changes;
  return meshedWorkload("77", { key: `${source.registry}/${address}`, name: address, addresses: [address], meshed: false, serviceAccount: "", source, ...changes });
}
