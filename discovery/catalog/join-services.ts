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
 * Makes one service of several claims, the first of which has the say: what
 * only one can decide (how endpoints are found, who sees it, whom its
 * certificates name) is the first one's. Ports are those of all; names too.
 *
 * A port of a later member is the earlier one of the same number, else of the
 * same name, else the only one where each side has one; any other is added.
 *
 * @param members at least one, in order of precedence
 */
export function joinServices(members: readonly [Claim, ...Claim[]], meshDomain: string): JoinedService {
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
  // A name with dots is a host that somebody declared.
  const hostname = own?.hostname ?? (name.includes(".") ? name : canonicalHostname(name, namespace, meshDomain));
  const ports = new Ports();
  const joined = members.map((member): JoinedMember => {
    const reason = reasonAgainst(member.service.resolution, owner);
    return { claim: member, ports: reason === undefined ? ports.add(member.service) : [], ...(reason === undefined ? {} : { reason }) };
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
      external: serving.every(({ claim: { service } }) => service.external),
    },
    claim: own?.claim ?? "canonical",
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

/** One cluster of Envoy finds its endpoints in one way. */
function reasonAgainst(resolution: Resolution, owner: RegistryService): string | undefined {
  if (resolution === owner.resolution) return undefined;
  return `its endpoints are found ${FOUND[resolution]}, those of ${wordFor(owner.source)} ${FOUND[owner.resolution]}: none of its endpoints gets traffic`;
}

/** The ports of a joined service, while its members are added in order. */
class Ports {
  readonly #ports: ServicePort[] = [];
  readonly sources = new Map<number, Source>();
  readonly notes: string[] = [];

  add(service: RegistryService): JoinedPort[] {
    const free = new Set(this.#ports);
    const found = new Map<ServicePort, ServicePort>();
    const pair = (find: (port: ServicePort, candidate: ServicePort) => boolean): void => {
      for (const port of service.ports) {
        const earlier = found.has(port) ? undefined : [...free].find((candidate) => find(port, candidate));
        if (earlier === undefined) continue;
        free.delete(earlier);
        found.set(port, earlier);
      }
    };
    pair((port, candidate) => port.number === candidate.number);
    pair((port, candidate) => port.name !== "" && port.name === candidate.name);
    if (service.ports.length === 1 && this.#ports.length === 1) pair(() => true);
    return service.ports.map((port) => {
      const earlier = found.get(port);
      if (earlier === undefined) this.#take(port, service.source);
      else this.#compare(port, earlier, service.source);
      return [(earlier ?? port).number, port];
    });
  }

  /** By number. Where there are several, each has a name of its own. */
  all(): ServicePort[] {
    const sorted = this.#ports.toSorted((left, right) => left.number - right.number);
    return sorted.map((port, index) => {
      const isUnique = sorted.length === 1 || (port.name !== "" && sorted.findIndex(({ name }) => name === port.name) === index);
      return isUnique ? port : { ...port, name: `${port.name === "" ? port.protocol.toLowerCase() : port.name}-${port.number}` };
    });
  }

  #take(port: ServicePort, source: Source): void {
    this.#ports.push(port);
    this.sources.set(port.number, source);
  }

  #compare(port: ServicePort, earlier: ServicePort, source: Source): void {
    const holder = this.sources.get(earlier.number);
    const winner = holder === undefined ? "" : ` of ${wordFor(holder)}`;
    if (port.number !== earlier.number) this.notes.push(`${wordFor(source)}: its port ${port.number} is called by the number ${earlier.number}${winner}`);
    if (port.protocol !== earlier.protocol) this.notes.push(`${wordFor(source)}: port ${port.number} speaks ${port.protocol} there; the ${earlier.protocol}${winner} holds`);
  }
}
