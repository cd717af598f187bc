import { familyOf, isOwnToEachHost } from "../../../model/address.ts";
import { isHostname } from "../../../model/hostname.ts";
import type { Health, Locality, Workload } from "../../../model/workload.ts";
import type { ConsulEntry } from "./entry.ts";

/** How one registry reads instances. */
export interface InstanceSettings {
  readonly registry: string;
  /** Of the mesh. */
  readonly namespace: string;
  /** The tagged address to use where an instance has it: `lan`, `wan`, `lan_ipv6`, …; empty for none. */
  readonly addressTag: string;
  readonly network: string;
}

/** True for the key of an instance that is on one of these nodes. */
export function isOnOneOf(nodes: ReadonlySet<string>, key: string): boolean {
  let start = 0;
  for (let part = 0; part < 4; part += 1) start = key.indexOf("/", start) + 1;
  // A node's name may have slashes in it, and so may an instance's id.
  for (let end = key.indexOf("/", start); end !== -1; end = key.indexOf("/", end + 1)) if (nodes.has(key.slice(start, end))) return true;
  return false;
}

/** Where an instance is, how it feels and what it offers; why it does not offer something goes to `refuse`. */
export function buildInstance(entry: ConsulEntry, settings: InstanceSettings, refuse: (object: string, reason: string) => void): Workload | undefined {
  const { Node: node, Service: service } = entry;
  const object = [node.Datacenter, node.Partition, service.Namespace, node.Node, service.ID].filter((part) => part !== "").join("/");
  const tagged = service.TaggedAddresses[settings.addressTag];
  const address = addressOf(entry, settings.addressTag);
  if (service.SocketPath !== "") {
    refuse(object, "listens on a unix socket, which only its own host can reach");
    return undefined;
  }
  const given = portsOf(entry, tagged?.Port ?? 0);
  for (const [, port] of given) if (!isPort(port)) refuse(object, `has the port ${port}, which is none: it gets no traffic there`);
  const ports = Object.fromEntries(given.filter(([, port]) => isPort(port)));
  if (address === "" || given.length === 0) refuse(object, `has no ${address === "" ? "address" : "port"}`);
  if (address === "" || Object.keys(ports).length === 0) return undefined;
  if (familyOf(address) === undefined && (!isHostname(address) || address.startsWith("*"))) {
    refuse(object, `has an address that is neither an IP address nor a host name: ${JSON.stringify(address)}`);
    return undefined;
  }
  if (isOwnToEachHost(address)) {
    // Each host would call itself; whoever may register could have it call what listens on loopback only.
    refuse(object, `has the address ${address}, which is another place on each host: it gets no traffic`);
    return undefined;
  }
  const { health, detail, weight } = judge(entry);
  return {
    // Five parts, always: no two instances of a Consul share them.
    key: [settings.registry, node.Datacenter, node.Partition, service.Namespace, node.Node, service.ID].join("/"),
    namespace: settings.namespace,
    name: service.ID,
    addresses: [address],
    ports,
    labels: labelsOf(entry),
    // Whoever may register a service could claim any: Consul's word gives no identity.
    serviceAccount: "",
    locality: localityOf(entry),
    network: settings.network,
    weight,
    health,
    ...(detail === "" ? {} : { healthDetail: detail }),
    meshed: false,
    source: { registry: settings.registry, object },
  };
}

/**
 * Names and numbers of ports, also of those that are none: Consul takes any number. The one port of an instance that
 * names none has the empty name, and may be another one at a tagged address.
 */
function portsOf({ Service: service }: ConsulEntry, taggedPort: number): (readonly [name: string, port: number])[] {
  const named = service.Ports.filter(({ Port }) => Port !== 0).map(({ Name, Port }) => [Name, Port] as const);
  if (named.length > 0) return named;
  const port = taggedPort === 0 ? service.Port : taggedPort;
  return port === 0 ? [] : [["", port]];
}

function isPort(number: number): boolean {
  return Number.isInteger(number) && number > 0 && number < 65_536;
}

/** What the registry was told to prefer, then the service's own, then the node's, by the same preference; a host name stays one. */
function addressOf({ Node: node, Service: service }: ConsulEntry, tag: string): string {
  const preferred = [service.TaggedAddresses[tag]?.Address, service.Address, node.TaggedAddresses[tag], node.Address];
  const address = preferred.find((candidate) => candidate !== undefined && candidate !== "") ?? "";
  return familyOf(address) === undefined ? address.toLowerCase().replace(/\.$/, "") : address;
}

/**
 * The worst of the instance's and its node's checks. A warning still serves, by
 * the weight that the service gives to it, as Consul's own DNS does.
 */
function judge({ Service: service, Checks: checks }: ConsulEntry): { health: Health; detail: string; weight: number } {
  const passing = Math.max(1, Math.floor(service.Weights?.Passing ?? 1));
  const maintenance = checks.find(({ CheckID }) => CheckID === "_node_maintenance" || CheckID.startsWith("_service_maintenance:"));
  if (maintenance !== undefined) return { health: "draining", detail: ["maintenance", firstLine(maintenance.Notes === "" ? maintenance.Output : maintenance.Notes)].filter((part) => part !== "").join(": "), weight: passing };
  const critical = checks.find(({ Status }) => Status !== "passing" && Status !== "warning");
  if (critical !== undefined) return { health: "unhealthy", detail: `${critical.Name}: ${firstLine(critical.Output)}`, weight: passing };
  const warning = checks.find(({ Status }) => Status === "warning");
  if (warning === undefined) return { health: "healthy", detail: "", weight: passing };
  const weight = Math.floor(service.Weights?.Warning ?? 1);
  const detail = `${warning.Name} warns: ${firstLine(warning.Output)}`;
  return weight < 1 ? { health: "unhealthy", detail, weight: passing } : { health: "healthy", detail, weight };
}

/** Tags, then meta, which wins. A plain tag that looks like a version is one, where nothing else says it. */
function labelsOf({ Service: service }: ConsulEntry): Record<string, string> {
  const labels = new Map<string, string>();
  for (const tag of service.Tags.toSorted()) {
    const [name, value] = labelOfTag(tag);
    labels.set(name, value);
    if (name.startsWith("tag/") && /^v\d+([.-].*)?$/.test(tag) && !labels.has("version")) labels.set("version", tag);
  }
  for (const [name, value] of Object.entries(service.Meta)) labels.set(name, value);
  return Object.fromEntries([...labels].sort(([left], [right]) => (left < right ? -1 : 1)));
}

/** `k=v` and `k|v` are the label `k`; a plain tag is `tag/NAME`. */
export function labelOfTag(tag: string): readonly [name: string, value: string] {
  const [, name, value] = /^([^=|]+)[=|](.*)$/.exec(tag) ?? [];
  return name !== undefined && value !== undefined ? [name, value] : [`tag/${tag}`, "true"];
}

function localityOf({ Node: node, Service: service }: ConsulEntry): Locality {
  const given = service.Locality ?? node.Locality;
  return { region: given === null || given === undefined || given.Region === "" ? node.Datacenter : given.Region, zone: given?.Zone ?? "", subZone: "" };
}

/** The first line of a check's output changes seldom; the rest often tells the time. */
function firstLine(text: string): string {
  return (text.split("\n", 1)[0] ?? "").trim().slice(0, 200);
}
