import { foreignText } from "../../../../base/foreign-text.ts";
import { familyOf } from "../../../../model/address.ts";
import type { Endpoint } from "../../../../model/endpoint.ts";
import { type Service, type ServiceKey, serviceKey } from "../../../../model/service.ts";
import { type Health, selects, type WorkloadKey } from "../../../../model/workload.ts";
import { type CheckStatus, type PublishedInstance, SERVICE_META, SOURCE, SOURCE_META } from "./instance.ts";

/** What of the catalog goes into Consul, and under which names. */
export interface SelectionSettings {
  /** Registries whose instances are published. */
  readonly from: readonly string[];
  /** Namespaces of the mesh; absent: all. */
  readonly namespaces?: readonly string[] | undefined;
  /** Labels that a service carries; absent: any. */
  readonly selector?: Readonly<Record<string, string>> | undefined;
  /** With `{name}` and `{namespace}`. */
  readonly nameTemplate: string;
  readonly tags: readonly string[];
}

/** The part of the catalog that is looked at. */
export interface CatalogView {
  readonly services: ReadonlyMap<ServiceKey, Service>;
  readonly endpointsOf: (key: ServiceKey) => readonly Endpoint[];
  /** Why an instance is not healthy, in its host's words. */
  readonly healthDetailOf: (workload: WorkloadKey) => string | undefined;
}

export interface Selection {
  readonly instances: readonly PublishedInstance[];
  /** Why something is not published. Sorted. */
  readonly notes: readonly string[];
}

/** What Consul's DNS can answer for. */
const CONSUL_NAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
/** Names that Consul takes in a meta's key, with the prefix. */
const META_NAME = /^[A-Za-z0-9_-]{1,100}$/;
const MAX_OUTPUT = 200;

/** One service under the name that it wants; as long as it and its endpoints are the same objects, it is built once. */
interface Candidate {
  readonly service: Service;
  readonly endpoints: readonly Endpoint[];
  /** Empty where there is nothing to publish. */
  readonly name: string;
  readonly instances: readonly PublishedInstance[];
  readonly notes: readonly string[];
}

/**
 * Gives what selects the instances to publish, by service.
 *
 * `holders` says, by Consul name, which service has it in Consul now: of
 * several that want one name it keeps it, also while it has no instance. Callers
 * of the name would be another application's otherwise.
 */
export function createSelection(settings: SelectionSettings): (catalog: CatalogView, holders: ReadonlyMap<string, ServiceKey>) => Selection {
  let known = new Map<ServiceKey, Candidate>();
  /** Who had each name last. */
  const held = new Map<string, ServiceKey>();
  return (catalog, holders) => {
    const candidates = new Map<ServiceKey, Candidate>();
    for (const key of [...catalog.services.keys()].sort()) {
      const service = catalog.services.get(key);
      if (service === undefined) continue;
      const endpoints = catalog.endpointsOf(key);
      const before = known.get(key);
      candidates.set(key, before?.service === service && before.endpoints === endpoints ? before : buildCandidate(service, endpoints, catalog, settings));
    }
    known = candidates;
    for (const [name, key] of holders) held.set(name, key);
    const winners = new Map<string, ServiceKey>();
    for (const [name, key] of held) {
      const service = catalog.services.get(key);
      if (service !== undefined && isAskedFor(service, settings) && nameOf(service, settings) === name) winners.set(name, key);
      else held.delete(name);
    }
    for (const [key, { name }] of candidates) {
      if (name === "" || winners.has(name)) continue;
      winners.set(name, key);
      held.set(name, key);
    }
    const instances: PublishedInstance[] = [];
    const notes = new Set<string>();
    for (const [key, candidate] of candidates) {
      for (const note of candidate.notes) notes.add(note);
      const winner = winners.get(candidate.name);
      if (winner === key) instances.push(...candidate.instances);
      else if (winner !== undefined) notes.add(`${key} is not published: ${winner} has the name ${candidate.name}; a name with {namespace} tells them apart`);
    }
    return { instances, notes: [...notes].sort() };
  };
}

function buildCandidate(service: Service, endpoints: readonly Endpoint[], catalog: CatalogView, settings: SelectionSettings): Candidate {
  const key = serviceKey(service);
  const served = isAskedFor(service, settings) ? endpoints.filter(({ source }) => settings.from.includes(source.registry)) : [];
  const without = (notes: readonly string[]): Candidate => ({ service, endpoints, name: "", instances: [], notes });
  if (served.length === 0) return without([]);
  if (!service.exportTo.includes("*")) return without([`${key} is not published: its exportTo keeps it to some namespaces`]);
  const name = nameOf(service, settings);
  if (!CONSUL_NAME.test(name)) return without([`${key} is not published: ${name} is no name for Consul's DNS`]);
  const notes: string[] = [];
  return { service, endpoints, name, instances: buildInstances(service, name, served, { settings, catalog, notes }), notes };
}

function isAskedFor(service: Service, { namespaces, selector = {} }: SelectionSettings): boolean {
  return namespaces?.includes(service.namespace) !== false && selects(selector, service.labels);
}

function nameOf(service: Service, { nameTemplate }: SelectionSettings): string {
  return nameTemplate.replaceAll("{name}", service.name).replaceAll("{namespace}", service.namespace);
}

interface Surroundings {
  readonly settings: SelectionSettings;
  readonly catalog: CatalogView;
  readonly notes: string[];
}

/** One instance for each workload: Consul has one port for each, which is the service's first; meta names all. */
function buildInstances(service: Service, name: string, served: readonly Endpoint[], { settings, catalog, notes }: Surroundings): PublishedInstance[] {
  const key = serviceKey(service);
  const [port] = service.ports;
  if (port === undefined) return [];
  return [...Map.groupBy(served, ({ workload }) => workload)].flatMap(([workload, endpoints]) => {
    const endpoint = endpoints.find(({ servicePort }) => servicePort === port.number);
    const reason =
      endpoint === undefined ? `has no port ${port.number}`
      : endpoint.network !== "" ? `is in the network ${endpoint.network}`
      : familyOf(endpoint.address) === undefined ? `has the host name ${endpoint.address} for an address`
      : undefined;
    if (endpoint === undefined || reason !== undefined) {
      notes.push(`${endpoints[0]?.workloadName} of ${key} is not published: it ${reason}`);
      return [];
    }
    const ports = endpoints.flatMap((one): [string, string][] => {
      const portName = service.ports.find(({ number }) => number === one.servicePort)?.name ?? "";
      return META_NAME.test(portName) ? [[`port-${portName}`, String(one.port)]] : [];
    });
    return {
      id: `${SOURCE}/${key}/${workload}`,
      origin: key,
      workload,
      record: {
        service: name,
        address: addressOf(endpoint),
        port: endpoint.port,
        tags: [...new Set(settings.tags)].sort(),
        meta: { ...Object.fromEntries(ports), protocol: port.protocol.toLowerCase(), [SOURCE_META]: SOURCE, [SERVICE_META]: key },
        weight: endpoint.weight,
        status: statusOf(endpoint.health),
      },
      output: outputOf(endpoint, catalog.healthDetailOf(workload)),
    };
  });
}

/**
 * The one address that Consul is told: of several the first IPv4 one. Were an
 * IPv6 one told beside it (`lan_ipv6`), SRV would answer with that alone.
 */
function addressOf({ address, additionalAddresses = [] }: Endpoint): string {
  return [address, ...additionalAddresses].find((one) => familyOf(one) === "ipv4") ?? address;
}

/** What the mesh gives no new traffic, Consul's users do not find; what is not known is tried by both. */
function statusOf(health: Health): CheckStatus {
  return health === "healthy" || health === "unknown" ? "passing" : "critical";
}

function outputOf({ health }: Endpoint, detail: string | undefined): string {
  return foreignText(`${health} in the mesh${detail === undefined ? "" : `: ${detail}`}`, MAX_OUTPUT);
}
