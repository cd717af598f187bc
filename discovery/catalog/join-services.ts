import { canonicalHostname } from "../../model/hostname.ts";
import type { ServicePort } from "../../model/port.ts";
import type { Resolution, Service } from "../../model/service.ts";
import type { Source } from "../../model/source.ts";
import type { RegistryService } from "../registry/registry.ts";
import type { Claim } from "./claims.ts";

/** A service out of all the claims that are it. */
export interface JoinedService {
  readonly service: Omit<Service, "vips">;
  /** Whether its hostname is its registry's own, or somebody wrote it down. */
  readonly claim: RegistryService["claim"];
  /** Virtual addresses that it brings along. */
  readonly addresses: readonly string[];
  readonly members: readonly JoinedMember[];
  /** Whose word each port is, by number. */
  readonly portSources: ReadonlyMap<number, Source>;
  /** What a person should know: contradictions and how they were decided. */
  readonly notes: readonly string[];
}

export interface JoinedMember {
  readonly claim: Claim;
  /** What each port of the joined service is called by this member. */
  readonly ports: readonly JoinedPort[];
  /** Why none of its endpoints serves. */
  readonly reason?: string;
}

/** A port of the joined service, by number, and what one member has for it. */
export type JoinedPort = readonly [servicePort: number, port: ServicePort];

/**
 * How the endpoints of a service may be found: the first way counts in which
 * there is an endpoint. Addresses go before DNS, whoever has them: nobody loses
 * a place for a name that leads who knows where. That connections go where they
 * were dialed is the first member's word alone.
 *
 * @param members in order of precedence
 */
export function waysOf(members: readonly Claim[]): readonly Resolution[] {
  const all = members.map(({ service }) => service.resolution);
  return all[0] === "passthrough" ? ["passthrough"] : (["static", "dns"] as const).filter((way) => all.includes(way));
}

/**
 * Makes one service of several claims, the first of which has the say: what
 * only one can decide (who sees it, whom its certificates name) is the first
 * one's. Ports are those of all; names too.
 *
 * A port of a later member is the same as an earlier one of its number, else of
 * its name, else as the only one where each side has one. It keeps its number
 * beside the earlier one's, for callers of before, and whoever has either
 * answers both. Any other is added.
 *
 * @param members at least one, in order of precedence
 * @param way in which its endpoints are found: members of another one serve nothing
 */
export function joinServices(members: readonly [Claim, ...Claim[]], meshDomain: string, way: Resolution): JoinedService {
  const [first] = members;
  const { service: owner } = first;
  const { claim, addresses, backends: _backends, allowsPlaintext: _allowsPlaintext, notes: ownerNotes, ...fields } = owner;
  if (first.place === undefined) {
    return {
      service: fields,
      claim,
      addresses,
      members: [{ claim: first, ports: owner.ports.map((port) => [port.number, port]) }],
      portSources: new Map(owner.ports.map((port) => [port.number, owner.source])),
      notes: ownerNotes,
    };
  }
  const { namespace, name } = first.place;
  const own = members.find(({ service }) => service.namespace === namespace && service.name === name)?.service;
  // A name with dots is a host that somebody declared, whose right to it is no better while the declaration is away.
  const isDeclared = name.includes(".");
  const hostname = own?.hostname ?? (isDeclared ? name : canonicalHostname(name, namespace, meshDomain));
  const holder = members.find(({ service }) => service.resolution === way)?.service ?? owner;
  const ports = new Ports();
  // Also those of members that only serve while no other can: ports do not come and go with endpoints.
  for (const { service } of members) if ((service.resolution === "passthrough") === (way === "passthrough")) ports.add(service);
  const joined = members.map((member): JoinedMember => {
    const reason = reasonAgainst(member.service.resolution, holder);
    return { claim: member, ports: ports.of(member.service), ...(reason === undefined ? {} : { reason }) };
  });
  const serving = joined.filter(({ reason }) => reason === undefined);
  const names = members.flatMap(({ service }) => [service.hostname, ...service.aliases]);
  return {
    service: {
      ...fields,
      namespace,
      name,
      hostname,
      aliases: [...new Set(names)].filter((alias) => alias !== hostname),
      ports: ports.all(),
      resolution: way,
      external: serving.every(({ claim: { service } }) => service.external),
    },
    claim: own?.claim ?? (isDeclared ? "declared" : "canonical"),
    addresses,
    members: joined,
    portSources: ports.sources,
    notes: [
      ...ownerNotes,
      ...members.slice(1).flatMap(({ service }) => service.notes.map((note) => `${wordFor(service.source)}: ${note}`)),
      ...joined.flatMap(({ claim: { service }, reason }) => (reason === undefined ? [] : [`${wordFor(service.source)}: ${reason}`])),
      ...ports.notes,
    ],
  };
}

/** `consul dc1/reviews` */
export function wordFor({ registry, object }: Source): string {
  return `${registry} ${object}`;
}

const FOUND: Readonly<Record<Resolution, string>> = { static: "by address", dns: "by DNS", passthrough: "by where the caller dialed" };

/** One cluster of Envoy finds its endpoints in one way. @param holder the first member of that way */
function reasonAgainst(resolution: Resolution, holder: RegistryService): string | undefined {
  if (resolution === holder.resolution) return undefined;
  const found = `its endpoints are found ${FOUND[resolution]}`;
  const others = `those of ${wordFor(holder.source)}`;
  if (resolution === "dns" && holder.resolution === "static") return `${found}: they serve only while none that is found by address, as ${others}, can`;
  if (resolution === "static" && holder.resolution === "dns") return `${found}: they go before ${others}, found by DNS, as soon as one of them can serve`;
  return `${found}, ${others} ${FOUND[holder.resolution]}: none of its endpoints gets traffic`;
}

/** Ports that members have for one and the same, by whatever number or name. */
interface PortClass {
  /** Of the first member that has it: its protocol holds. */
  readonly first: ServicePort;
  readonly source: Source;
  /** What each member has for it. */
  readonly ports: Map<RegistryService, ServicePort[]>;
}

/** The ports of a joined service, while its members are added in order. */
class Ports {
  readonly #classes: PortClass[] = [];
  readonly #all: ServicePort[] = [];
  readonly sources = new Map<number, Source>();
  readonly notes: string[] = [];

  add(service: RegistryService): void {
    const earlier = [...this.#classes];
    for (const port of service.ports) {
      const found = classOf(port, service, earlier);
      if (found === undefined) this.#classes.push({ first: port, source: service.source, ports: new Map([[service, [port]]]) });
      else this.#join(found, port, service);
      if (this.sources.has(port.number)) continue;
      this.sources.set(port.number, service.source);
      this.#all.push({ ...port, protocol: (found?.first ?? port).protocol });
    }
  }

  /** What each port of the joined service is called by a member; none for those that it has nothing for. */
  of(service: RegistryService): JoinedPort[] {
    return this.#classes.flatMap(({ ports }) => {
      const [own, ...others] = ports.get(service) ?? [];
      if (own === undefined) return [];
      const numbers = new Set([...ports.values()].flat().map(({ number }) => number));
      return [...numbers].map((number): JoinedPort => [number, others.find((port) => port.number === number) ?? own]);
    });
  }

  /** By number. Where there are several, each has a name of its own: the first one's stays. */
  all(): ServicePort[] {
    const names = new Set<string>();
    const named = this.#all.map((port) => {
      const isOwn = this.#all.length === 1 || (port.name !== "" && !names.has(port.name));
      const name = isOwn ? port.name : `${port.name === "" ? port.protocol.toLowerCase() : port.name}-${port.number}`;
      names.add(name);
      return { ...port, name };
    });
    return named.sort((left, right) => left.number - right.number);
  }

  #join(found: PortClass, port: ServicePort, service: RegistryService): void {
    found.ports.set(service, [...(found.ports.get(service) ?? []), port]);
    const { first, source } = found;
    if (port.protocol !== first.protocol) this.notes.push(`${wordFor(service.source)}: port ${port.number} speaks ${port.protocol} there; the ${first.protocol} of ${wordFor(source)} holds`);
  }
}

function classOf(port: ServicePort, service: RegistryService, classes: readonly PortClass[]): PortClass | undefined {
  const having = (test: (other: ServicePort) => boolean): PortClass | undefined => classes.find(({ ports }) => [...ports.values()].flat().some(test));
  return having(({ number }) => number === port.number) ?? (port.name === "" ? undefined : having(({ name }) => name === port.name)) ?? (service.ports.length === 1 && classes.length === 1 ? classes[0] : undefined);
}
