import { type Clock, systemClock } from "../../base/clock.ts";
import { type Change, type Collection, SourceCollection } from "../../base/collection.ts";
import type { Closable } from "../../base/task-group.ts";
import type { Endpoint } from "../../model/endpoint.ts";
import { type Resolution, type Service, serviceKey, type ServiceKey } from "../../model/service.ts";
import type { Source } from "../../model/source.ts";
import type { Workload, WorkloadKey } from "../../model/workload.ts";
import type { Registry, RegistryService, WorkloadTemplate } from "../registry/registry.ts";
import { createAddressAllocation } from "./address-allocation.ts";
import { createAwaitedAddresses } from "./awaited-addresses.ts";
import { type Claimants, Claims } from "./claims.ts";
import { describeService, type ServiceDescription } from "./describe.ts";
import { type Arrival, createIntake, type Pace } from "./intake.ts";
import { joinEndpoints, judgeEndpoints, type ServedMember } from "./join-endpoints.ts";
import { type JoinedService, joinServices, waysOf } from "./join-services.ts";
import { Names } from "./names.ts";
import { createSameness, type SamenessRule } from "./sameness.ts";
import { Selection } from "./selection.ts";
import { createTies } from "./ties.ts";
import type { VipAllocator } from "./vip.ts";

/** How often it is asked, after a start, whether all registries have spoken. */
const UNCLAIMED_INTERVAL_MS = 60_000;

/** What all registries together say, normalized: the one truth that the mesh is configured from. */
export interface Catalog extends Closable {
  /** By service key. */
  readonly services: Collection<Service>;
  /** By service key; a service without endpoints has an empty list. */
  readonly endpoints: Collection<readonly Endpoint[]>;
  readonly workloads: Collection<Workload>;
  readonly names: Names;
  /** By service key: services that have no virtual address yet and are about to get one. Each leaves, with an address or, where that fails or takes long, without. */
  readonly awaitingAddress: Collection<true>;
  /** By service key: what a person should know about it. Only services with findings are in it. */
  readonly findings: Collection<ServiceFindings>;
  /** Who a service is made of, the one that has the say first. */
  sourcesOf(key: ServiceKey): readonly Source[];
  /** Why a service is as it is; undefined where nobody claims the key. Computed when asked for. */
  describe(key: ServiceKey): ServiceDescription | undefined;
  /** What is said of the health of a service's instances, where anything is. */
  healthDetails(key: ServiceKey): ReadonlyMap<WorkloadKey, string>;
  /** Takes all that registries have told until now; resolves when the virtual addresses that are being allocated now are in the services. */
  settled(): Promise<void>;
  /** What registries have told and is not shown yet: where thousands come at once they take turns with everything else. By the registry's place and its id of the service. */
  waiting(): ReadonlyMap<string, Arrival>;
}

/** Why somebody's registration does not have the effect that they may expect. */
export interface ServiceFindings {
  /** Other registries that claim the service: they get no traffic until a rule joins them. */
  readonly pending: readonly { readonly registry: string; readonly object: string }[];
  readonly notes: readonly string[];
}

export interface CatalogOptions {
  /** In order of precedence: of two that claim a service, the first owns it. */
  readonly registries: readonly Registry[];
  /** Which services of several registries are one; none unless given. */
  readonly sameness?: readonly SamenessRule[] | undefined;
  readonly meshDomain: string;
  readonly trustDomain: string;
  readonly vips: VipAllocator;
  /** Told when virtual addresses cannot be allocated; the services stay without until a later attempt succeeds. */
  readonly onVipFailure: (failure: unknown) => void;
  readonly clock?: Clock;
  /** How services that come at once take turns with everything else, where that is allowed. */
  readonly pace?: Pace;
}

/** Joins registries and follows them until it is closed. */
export function createCatalog(options: CatalogOptions): Catalog {
  const { registries, sameness = [], meshDomain, trustDomain, vips, onVipFailure, clock = systemClock, pace } = options;
  const services = new SourceCollection<Service>();
  const endpoints = new SourceCollection<readonly Endpoint[]>();
  const workloads = new SourceCollection<Workload>();
  const findings = new SourceCollection<ServiceFindings>();
  const awaited = createAwaitedAddresses(clock);
  const names = new Names();
  const places = createSameness(sameness);
  const claims = new Claims(places);
  const selection = new Selection();
  /** What claims make where endpoints have no say in it: it is asked for several times for each change, and kept for one turn. */
  const joinedByClaims = new Map<Claimants, JoinedService>();
  /** The service that each claim counts for, by the claim's id. */
  const keys = new Map<string, ServiceKey>();

  const takeServices = (arrivals: readonly Arrival[]): void => {
    const touched = new Set<ServiceKey>();
    const selecting = new Set<string>();
    const gone = new Set<ServiceKey>();
    for (const { id, registry, precedence, before, after } of arrivals) {
      const keyBefore = keys.get(id);
      if (keyBefore !== undefined) {
        claims.remove(keyBefore, id);
        keys.delete(id);
        touched.add(keyBefore);
      }
      if (before !== undefined) gone.add(serviceKey(before));
      const placed = after === undefined ? undefined : claims.place({ id, registry, precedence, service: after });
      if (placed !== undefined) {
        claims.add(placed.key, placed.claim);
        keys.set(id, placed.key);
        touched.add(placed.key);
      }
      for (const other of selection.set(id, placed?.claim)) selecting.add(other);
    }
    const { affected, heirs } = settleNames(touched);
    const wanting = wantingAddress(affected);
    // Before they are shown: whoever sees a service is to know that it is not complete. One that takes a name over is served at once, or nobody is by that name.
    const onAllocated = awaited.expect(wanting.filter((key) => vips.get(key).length === 0 && !heirs.has(key)));
    publish(affected);
    refreshEndpoints(new Set([...affected, ...keysOf(selecting)]));
    allocation.request(wanting, new Set([...touched, ...gone]), onAllocated);
  };
  const tiesOf = createTies({
    sameness: places,
    meshDomain,
    isVirtual: (address) => vips.covers(address),
    isOpened: (registry) => selection.isOpened(registry),
    claimsOf(key) {
      const { members, pending } = claims.of(key);
      return pending.length === 0 ? members : [...members, ...pending];
    },
  });
  const intake = createIntake({ clock, tiesOf, onTaken: takeServices, pace });
  const told = (precedence: number, { name }: Registry, changes: readonly Change<RegistryService>[]): Arrival[] =>
    changes.map(({ key, before, after }) => ({ id: `${precedence} ${key}`, registry: name, precedence, before, after }));

  const takeWorkloads = (changes: readonly Change<Workload>[]): void => {
    workloads.apply(changes.map(({ key, after }) => [key, after]));
    refreshEndpoints(keysOf(selection.takeWorkloads(changes)));
  };

  const takeTemplates = (changes: readonly Change<WorkloadTemplate>[]): void => refreshEndpoints(keysOf(selection.takeTemplates(changes)));

  const keysOf = (ids: Iterable<string>): Set<ServiceKey> => new Set([...ids].flatMap((id) => keys.get(id) ?? []));

  /** What those who claim the key make of it, whether or not it has its hostname. */
  const joinedOf = (key: ServiceKey): JoinedService | undefined => {
    const claimants = claims.of(key);
    const known = joinedByClaims.get(claimants);
    if (known !== undefined) return known;
    const [first, ...others] = claimants.members;
    if (first === undefined) return undefined;
    const joinedBy = (way: Resolution): JoinedService => joinServices([first, ...others], meshDomain, way);
    const ways = waysOf([first, ...others]);
    if (ways.length > 1) return joinedBy(ways.find((way) => hasEndpoint(joinedBy(way))) ?? first.service.resolution);
    const only = joinedBy(ways[0] ?? first.service.resolution);
    if (joinedByClaims.size === 0) queueMicrotask(() => joinedByClaims.clear());
    joinedByClaims.set(claimants, only);
    return only;
  };

  const hasEndpoint = (joined: JoinedService): boolean => judgeEndpoints(servedBy(joined), trustDomain).some(({ endpoint }) => endpoint !== undefined);

  /** Gives the services that it is about, those asked for and those whose names changed hands; and who has one now that was another's. */
  const settleNames = (wanted: Iterable<ServiceKey>): { readonly affected: ReadonlySet<ServiceKey>; readonly heirs: ReadonlySet<ServiceKey> } => {
    const changed = names.apply(
      [...wanted].map((key) => {
        const joined = joinedOf(key);
        if (joined === undefined) return { key };
        return {
          key,
          after: {
            hosts: [joined.service.hostname, ...joined.service.aliases],
            shortHosts: shortHosts(joined, meshDomain),
            addresses: ownAddressesOf(key, joined),
            formerAddresses: formerAddressesOf(key, joined),
            isCanonical: joined.claim === "canonical",
            isAllowed: joined.claim === "allowed",
            precedence: joined.members[0]?.claim.precedence ?? 0,
            precedences: precedencesOf(joined),
          },
        };
      }),
    );
    return { affected: new Set([...wanted, ...changed.services, ...changed.claimants]), heirs: changed.heirs };
  };
  const publish = (affected: Iterable<ServiceKey>): void => services.apply([...affected].map((key) => [key, buildService(key)]));

  /**
   * The service that owns its key and its hostname. One without its hostname is
   * none: resources are named after that, and two of a name would be one.
   */
  const inForce = (key: ServiceKey): JoinedService | undefined => {
    const joined = joinedOf(key);
    return joined !== undefined && names.ownerOf(joined.service.hostname) === key ? joined : undefined;
  };

  const ownAddressesOf = (key: ServiceKey, { addresses }: JoinedService): readonly string[] => (addresses.length > 0 ? addresses : vips.get(key));

  /** Those of services that are no more because they were joined are still dialed by whoever has looked them up before. */
  const formerAddressesOf = (key: ServiceKey, { addresses, members }: JoinedService): readonly string[] => {
    if (addresses.length > 0) return [];
    const former = members.map(({ claim: { service } }) => serviceKey(service)).filter((own) => own !== key);
    return former.flatMap((own) => vips.held(own));
  };

  const buildService = (key: ServiceKey): Service | undefined => {
    const joined = inForce(key);
    if (joined === undefined) return undefined;
    // An address that is another's would take that one's connections.
    const addresses = [...ownAddressesOf(key, joined), ...formerAddressesOf(key, joined)];
    return { ...joined.service, vips: addresses.filter((address) => names.ownerOf(address) === key) };
  };

  const refreshEndpoints = (wanted: Iterable<ServiceKey>): void => {
    const keysWanted = [...wanted];
    // How its endpoints are found hangs on which of them there are.
    services.apply(keysWanted.filter((key) => waysOf(claims.of(key).members).length > 1).map((key) => [key, buildService(key)]));
    const results = keysWanted.map((key) => {
      const joined = inForce(key);
      return { key, ...(joined === undefined ? { endpoints: undefined, notes: [] } : joinEndpoints(servedBy(joined), trustDomain)) };
    });
    endpoints.apply(results.map((result) => [result.key, result.endpoints]));
    findings.apply(results.map((result) => [result.key, findingsOf(result.key, result.notes)]));
  };

  const servedBy = ({ service: { resolution: way }, members }: JoinedService): ServedMember[] =>
    members.map(({ claim, ports, reason }) => ({
      way,
      ports,
      reason,
      workloads: selection.instances(claim),
      hasGroup: selection.hasGroup(claim),
      allowsPlaintext: claim.service.allowsPlaintext || claim.place?.allowsPlaintext === true,
    }));

  const lostBy = (key: ServiceKey, hostname: string): string[] =>
    names.lost(key).map(({ host, owner }) => (host === hostname ? `it gets no traffic: the name ${host} belongs to ${owner}` : `the name ${host} belongs to ${owner}`));

  const unknownRegistries = ({ members }: JoinedService): string[] =>
    members.flatMap(({ claim: { service } }) => (service.backends.kind === "selector" ? (service.backends.registries ?? []) : []))
      .filter((name) => registries.every((registry) => registry.name !== name))
      .map((name) => `its selector sees no instances of ${name}: no registry is called ${name}`);

  const findingsOf = (key: ServiceKey, endpointNotes: readonly string[]): ServiceFindings | undefined => {
    const joined = joinedOf(key);
    if (joined === undefined) return undefined;
    const { pending } = claims.of(key);
    const notes = [...joined.notes, ...lostBy(key, joined.service.hostname), ...unknownRegistries(joined), ...endpointNotes];
    if (pending.length === 0 && notes.length === 0) return undefined;
    return { pending: pending.map(({ service }) => service.source), notes };
  };

  const describe = (key: ServiceKey): ServiceDescription | undefined => {
    const joined = joinedOf(key);
    if (joined === undefined) return undefined;
    const { name } = joined.service;
    return describeService(key, {
      joined,
      pending: claims.of(key).pending,
      verdicts: judgeEndpoints(servedBy(joined), trustDomain),
      isInForce: inForce(key) !== undefined,
      vips: services.get(key)?.vips ?? [],
      names: names.domains(key, 0),
      lostNames: names.lost(key),
      namesakes: [...services.entries().values()].filter((other) => other.name === name && serviceKey(other) !== key),
      notes: findings.get(key)?.notes ?? [],
    });
  };

  const healthDetails = (key: ServiceKey): ReadonlyMap<WorkloadKey, string> => {
    const joined = joinedOf(key);
    const instances = joined === undefined ? [] : servedBy(joined).flatMap(({ workloads: all }) => all);
    return new Map(instances.flatMap(({ key: instance, healthDetail = "" }) => (healthDetail === "" ? [] : [[instance, healthDetail]])));
  };

  const needsAddress = ({ addresses, service: { resolution, hostname } }: JoinedService): boolean =>
    addresses.length === 0 && resolution !== "passthrough" && hostname.endsWith(`.${meshDomain}`) && !hostname.includes("*");

  const wantingAddress = (affected: ReadonlySet<ServiceKey>): ServiceKey[] =>
    [...affected].filter((key) => {
      const joined = inForce(key);
      return joined !== undefined && needsAddress(joined);
    });

  const allocation = createAddressAllocation({
    vips,
    clock,
    isClaimed: (key) => claims.isClaimed(key),
    stillWanting: wantingAddress,
    show: (keys) => publish(settleNames(keys).affected),
    onFailure: onVipFailure,
  });

  /**
   * Services that went while nobody looked. A registry that has said nothing yet
   * may have any of them; what it says later takes its addresses back, which rest.
   */
  const releaseUnclaimed = (): void => {
    if (registries.every((registry) => registry.status().synced) && intake.waiting().size === 0) allocation.request([], vips.allocated());
    else cancelSweep = clock.after(UNCLAIMED_INTERVAL_MS, releaseUnclaimed);
  };
  let cancelSweep = clock.after(UNCLAIMED_INTERVAL_MS, releaseUnclaimed);

  const stops = registries.flatMap((registry, precedence) => [
    registry.templates.subscribe(takeTemplates),
    registry.workloads.subscribe(takeWorkloads),
    registry.services.subscribe((changes) => intake.take(told(precedence, registry, changes), registry.servicesStandAlone === true)),
  ]);
  for (const [precedence, registry] of registries.entries()) {
    takeTemplates(contentOf(registry.templates));
    takeWorkloads(contentOf(registry.workloads));
    takeServices(told(precedence, registry, contentOf(registry.services)));
  }

  return {
    services,
    endpoints,
    workloads,
    names,
    awaitingAddress: awaited.services,
    findings,
    sourcesOf: (key) => claims.of(key).members.map(({ service }) => service.source),
    describe,
    healthDetails,
    settled() {
      intake.finish();
      return allocation.settled();
    },
    waiting: () => intake.waiting(),
    async close() {
      intake.close();
      cancelSweep();
      for (const stop of stops) stop();
      await allocation.close();
    },
  };
}

/** `reviews.default` and `reviews.default.svc`, for each name of the mesh's own domain. */
function shortHosts({ service: { hostname, aliases } }: JoinedService, meshDomain: string): string[] {
  const ending = `.svc.${meshDomain}`;
  return [hostname, ...aliases]
    .filter((name) => name.endsWith(ending))
    .map((name) => name.slice(0, -ending.length))
    .flatMap((short) => [short, `${short}.svc`]);
}

/** Of the registry that each name is from: the first member's word does not lift those of others above a third one's. */
function precedencesOf({ members }: JoinedService): ReadonlyMap<string, number> {
  return new Map(members.toReversed().flatMap(({ claim: { precedence, service } }) => [service.hostname, ...service.aliases].map((name) => [name, precedence] as const)));
}

/** What is there, as changes from nothing. */
function contentOf<T>(collection: Collection<T>): Change<T>[] {
  return [...collection.entries()].map(([key, after]) => ({ key, after }));
}
