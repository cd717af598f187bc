import { fewNames } from "../../../base/few-names.ts";
import { familyOf } from "../../../model/address.ts";
import { canonicalHostname, isHostname } from "../../../model/hostname.ts";
import { isHttp, protocolNamed, selectProtocol } from "../../../model/port.ts";
import type { Protocol, ServicePort } from "../../../model/port.ts";
import { portNamed } from "../../../model/workload.ts";
import type { Workload } from "../../../model/workload.ts";
import type { RegistryService } from "../registry.ts";
import type { ConsulEntry } from "./entry.ts";
import { buildInstance } from "./instance.ts";
import type { InstanceSettings } from "./instance.ts";

/** How one registry reads services. */
export interface ServiceSettings extends InstanceSettings {
  readonly meshDomain: string;
  /** Where it is read from; absent: the agent's own. */
  readonly datacenter?: string | undefined;
  /** Of Consul Enterprise, where they are asked for. */
  readonly partition?: string | undefined;
  readonly consulNamespace?: string | undefined;
  /** Consul's `domain`; its names are `<service>.service.<domain>`. */
  readonly dnsDomain: string;
  /** Values of the meta `external-source` that another registry of the mesh reads already. */
  readonly ignoredSources: readonly string[];
}

/** Tells the service's port where its instances have different ones. */
const PORT_META = "service-port";
const PROTOCOL_META = "protocol";
/** `protocol=http`, `protocol|http` or just `http`. */
const PROTOCOL_TAG = /^(?:protocol[=|])?([a-z0-9-]+)$/i;

/** True for a name that can be a service of the mesh: one DNS label, in whatever case. */
export function isServiceName(name: string): boolean {
  return !name.includes(".") && isHostname(name.toLowerCase());
}

/**
 * One Consul service as the mesh sees it; undefined where nothing of it is an
 * ordinary service: gateways and sidecars (their application is one itself), or
 * entries that another registry owns.
 */
export function buildConsulService(name: string, entries: readonly ConsulEntry[], settings: ServiceSettings): RegistryService | undefined {
  const notes = new Set<string>();
  const own = entries
    .filter(({ Service: service }) => service.Kind === "" && !settings.ignoredSources.includes(service.Meta["external-source"] ?? ""))
    .toSorted((left, right) => (placeOf(left) < placeOf(right) ? -1 : 1));
  if (own.length === 0 && entries.length > 0) return undefined;
  const refused: { readonly object: string; readonly reason: string }[] = [];
  const refuse = (object: string, reason: string): void => void refused.push({ object, reason });
  const found = shareNames(own.flatMap((entry) => buildInstance(entry, settings, refuse) ?? [])).sort(byKey);
  // Where names are the rule, DNS finds an IP address too.
  const usesNames = 2 * found.filter(({ addresses }) => familyOf(addresses[0] ?? "") === undefined).length > found.length;
  const instances = found.filter(({ addresses, source }) => {
    if (usesNames || familyOf(addresses[0] ?? "") !== undefined) return true;
    refuse(source.object, "has a host name for an address and others have IP addresses: it gets no traffic");
    return false;
  });
  for (const [reason, all] of Map.groupBy(refused, (one) => one.reason)) for (const note of noteEach(all.map(({ object }) => object), reason)) notes.add(note);
  const native = own.filter(({ Service: service }) => service.Connect?.Native === true).length;
  if (native > 0) notes.add(`${native} of ${own.length} instances speak Consul's own mutual TLS (Connect native): the mesh calls them as any other`);
  const { namespace, registry, meshDomain } = settings;
  const label = name.toLowerCase();
  return {
    namespace,
    name: label,
    claim: "canonical",
    hostname: canonicalHostname(label, namespace, meshDomain),
    aliases: aliasesFrom(settings.datacenter ?? own[0]?.Node.Datacenter ?? "", label, settings),
    ports: buildPorts(own, instances, notes),
    resolution: usesNames ? "dns" : "static",
    external: true,
    addresses: [],
    labels: {},
    subjectAltNames: [],
    exportTo: ["*"],
    backends: { kind: "explicit", workloads: instances },
    allowsPlaintext: false,
    notes: [...notes].sort(),
    source: { registry, object: [settings.datacenter ?? own[0]?.Node.Datacenter ?? "", name].filter((part) => part !== "").join("/") },
  };
}

/**
 * `web.service.dc1.consul`, and `web.service.consul` for the agent's own
 * datacenter, whose name that is. Names of another partition or namespace say all parts.
 * @param where the datacenter that it is in; empty where nobody said it
 * Source: developer.hashicorp.com/consul/docs/discover/service/static
 */
export function aliasesFrom(where: string, label: string, { datacenter, partition, consulNamespace, dnsDomain }: Pick<ServiceSettings, "datacenter" | "partition" | "consulNamespace" | "dnsDomain">): string[] {
  const from = where.toLowerCase();
  if (partition !== undefined || consulNamespace !== undefined) {
    return from === "" ? [] : [`${label}.service.${(consulNamespace ?? "default").toLowerCase()}.ns.${(partition ?? "default").toLowerCase()}.ap.${from}.dc.${dnsDomain}`];
  }
  return [
    ...(from === "" ? [] : [`${label}.service.${from}.${dnsDomain}`]),
    ...(datacenter === undefined ? [`${label}.service.${dnsDomain}`] : []),
  ];
}

function noteEach(objects: readonly string[], reason: string): string[] {
  return fewNames(objects).map((name) => (objects.includes(name) ? `${name} ${reason}` : `${name}: ${reason}`));
}

/**
 * A port of one number has one name, that of most instances that have it: a
 * service that is given names keeps all of its instances, and one odd instance
 * names nobody's port. None is a name too, until half of them have one.
 */
function shareNames(instances: readonly Workload[]): Workload[] {
  const names = new Map<number, string>();
  for (const [number, all] of Map.groupBy(instances.flatMap(({ ports }) => Object.entries(ports)), ([, port]) => port)) {
    const given = all.map(([name]) => name).filter((name) => name !== "");
    names.set(number, 2 * given.length < all.length ? "" : (mostOf(countEach(given)) ?? ""));
  }
  return instances.map((instance) => {
    const shared = Object.entries(instance.ports).map(([name, number]): readonly [string, number] => {
      const usual = names.get(number) ?? name;
      return [portNamed(instance, usual) === undefined ? usual : name, number];
    });
    return { ...instance, ports: Object.fromEntries(shared) };
  });
}

/**
 * Consul knows ports of instances, not of services. The service's is what most
 * metas `service-port` say, where half of the instances have one, else what more
 * than half of them have, so that one odd instance moves nobody, else 80 for
 * HTTP, else the lowest, and a note says so.
 */
function buildPorts(entries: readonly ConsulEntry[], instances: readonly Workload[], notes: Set<string>): ServicePort[] {
  const names = [...new Set(instances.flatMap(({ ports }) => Object.keys(ports)))].sort();
  const declared = protocolOf(entries, notes);
  const ports = names.map((name): ServicePort => {
    const having = instances.filter((instance) => portNamed(instance, name) !== undefined);
    const numbers = countEach(having.flatMap((instance) => portNamed(instance, name) ?? []));
    // What is declared by who has several ports is for none of them in particular.
    const isOnly = 2 * having.filter((instance) => Object.keys(instance.ports).length === 1).length > having.length;
    const protocol = selectProtocol(isOnly ? declared : undefined, name, mostOf(numbers) ?? 0);
    const number = servicePort(name, numbers, protocol, entries, notes);
    // Of several, who does not have one is not called there.
    return { name, number, protocol, ...(names.length > 1 ? { targetPort: name } : {}) };
  });
  const users = countEach(instances.flatMap((instance) => Object.keys(instance.ports)));
  const fewestFirst = ports.toReversed().sort((left, right) => (users.get(left.name) ?? 0) - (users.get(right.name) ?? 0));
  const unique = new Map(fewestFirst.map((port) => [port.number, port]));
  for (const port of ports) if (unique.get(port.number) !== port) notes.add(`port ${port.name} is left out: its number ${port.number} is another port's`);
  return [...unique.values()].sort((a, b) => a.number - b.number);
}

/** @param numbers how many instances have each */
function servicePort(name: string, numbers: ReadonlyMap<number, number>, protocol: Protocol, entries: readonly ConsulEntry[], notes: Set<string>): number {
  const told = entries.map(({ Service: service }) => Number(service.Meta[PORT_META] ?? "")).filter((port) => Number.isInteger(port) && port > 0 && port < 65_536);
  const said = saidByHalf(told, entries, `meta ${PORT_META}`, notes);
  if (name === "" && said !== undefined) return said;
  const all = [...numbers.keys()].sort((a, b) => a - b);
  const [lowest = 0, other] = all;
  if (other === undefined) return lowest;
  const half = [...numbers.values()].reduce((sum, count) => sum + count, 0) / 2;
  const usual = all.find((number) => (numbers.get(number) ?? 0) > half);
  const chosen = usual ?? (isHttp(protocol) && name === "" ? 80 : lowest);
  notes.add(`instances have different ports${name === "" ? "" : ` ${name}`} (${all.slice(0, 5).join(", ")}): the service's is ${chosen}; the meta ${PORT_META} can say another`);
  return chosen;
}

/** By meta, else by a tag `protocol=http` or one that is a protocol's name: what most say, where half of the instances say anything. */
function protocolOf(entries: readonly ConsulEntry[], notes: Set<string>): string | undefined {
  const told = entries.flatMap(({ Service: service }) => {
    const meta = service.Meta[PROTOCOL_META];
    const tags = service.Tags.map((tag) => PROTOCOL_TAG.exec(tag)?.[1] ?? "");
    const found = meta === undefined ? tags.toSorted().find((tag) => protocolNamed(tag) !== undefined) : meta;
    return found === undefined ? [] : [found.toLowerCase()];
  });
  const names = [...new Set(told)].sort();
  const chosen = saidByHalf(told, entries, "protocol", notes);
  if (chosen !== undefined && names.length > 1) notes.add(`instances name different protocols (${names.join(", ")}): ${chosen} holds`);
  return chosen;
}

/** What most say of a service; undefined until half of its instances say anything: the silence of the others is a word too. */
function saidByHalf<T extends string | number>(told: readonly T[], entries: readonly ConsulEntry[], what: string, notes: Set<string>): T | undefined {
  if (2 * told.length >= entries.length) return mostOf(countEach(told));
  if (told.length > 0) notes.add(`${told.length} of ${entries.length} instances have a ${what} (${[...new Set(told.map(String))].sort().join(", ")}): none holds until half of them do`);
  return undefined;
}

/** What is counted most often, of several the lowest. */
function mostOf<T extends string | number>(counts: ReadonlyMap<T, number>): T | undefined {
  const most = Math.max(...counts.values());
  return [...counts.keys()].sort((left, right) => (left < right ? -1 : 1)).find((one) => counts.get(one) === most);
}

function countEach<T>(values: readonly T[]): ReadonlyMap<T, number> {
  const counts = new Map<T, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return counts;
}

/** Where an instance is registered: no two of a Consul share it. */
export function placeOf({ Node: node, Service: service }: ConsulEntry): string {
  return [node.Datacenter, node.Partition, service.Namespace, node.Node, service.ID].join("/");
}

function byKey(left: Workload, right: Workload): number {
  return left.key < right.key ? -1 : 1;
}
