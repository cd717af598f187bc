import { backoffDelay } from "../../base/backoff.ts";
import { type Clock, systemClock } from "../../base/clock.ts";
import { type Change, type Collection, SourceCollection } from "../../base/collection.ts";
import type { Closable } from "../../base/task-group.ts";
import type { Endpoint } from "../../model/endpoint.ts";
import { type Service, serviceKey, type ServiceKey } from "../../model/service.ts";
import type { Workload } from "../../model/workload.ts";
import type { Registry, RegistryService, WorkloadTemplate } from "../registry/registry.ts";
import { joinEndpoints } from "./join-endpoints.ts";
import { Names } from "./names.ts";
import type { VipAllocator } from "./vip.ts";
import { WorkloadIndex } from "./workload-index.ts";

const VIP_RETRY = { baseMs: 500, maxMs: 30_000 };

/** What all registries together say, normalized: the one truth that the mesh is configured from. */
export interface Catalog extends Closable {
  /** By service key. */
  readonly services: Collection<Service>;
  /** By service key; a service without endpoints has an empty list. */
  readonly endpoints: Collection<readonly Endpoint[]>;
  readonly workloads: Collection<Workload>;
  readonly names: Names;
  /** By service key: what a person should know about it. Only services with findings are in it. */
  readonly findings: Collection<ServiceFindings>;
  /** Resolves when the virtual addresses that are being allocated now are in the services. */
  settled(): Promise<void>;
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
  readonly meshDomain: string;
  readonly trustDomain: string;
  readonly vips: VipAllocator;
  /** Told when virtual addresses cannot be allocated; the services stay without until a later attempt succeeds. */
  readonly onVipFailure: (failure: unknown) => void;
  readonly clock?: Clock;
}

interface Claim {
  readonly precedence: number;
  readonly service: RegistryService;
}

/** Joins registries and follows them until it is closed. */
export function createCatalog(options: CatalogOptions): Catalog {
  const { registries, meshDomain, trustDomain, vips, onVipFailure, clock = systemClock } = options;
  const services = new SourceCollection<Service>();
  const endpoints = new SourceCollection<readonly Endpoint[]>();
  const workloads = new SourceCollection<Workload>();
  const findings = new SourceCollection<ServiceFindings>();
  const names = new Names();
  const index = new WorkloadIndex<Workload>();
  const groups = new WorkloadIndex<WorkloadTemplate>();
  /** Claims by service key, by registry and id. */
  const claims = new Map<ServiceKey, Map<string, Claim>>();
  let allocation: Promise<void> = Promise.resolve();
  /** Services whose addresses could not be allocated or released. */
  const unsettled = new Set<ServiceKey>();
  let vipFailures = 0;
  let cancelVipRetry: (() => void) | undefined;
  let isClosed = false;

  const ownerOf = (key: ServiceKey): Claim | undefined => sortedClaims(claims.get(key))[0];

  const takeServices = (precedence: number, changes: readonly Change<RegistryService>[]): void => {
    const touched = new Set<ServiceKey>();
    for (const { key: id, before, after } of changes) {
      const claimId = `${precedence} ${id}`;
      if (before !== undefined) {
        const key = serviceKey(before);
        const held = claims.get(key);
        held?.delete(claimId);
        if (held?.size === 0) claims.delete(key);
        touched.add(key);
      }
      if (after !== undefined) {
        const key = serviceKey(after);
        const held = claims.get(key) ?? new Map<string, Claim>();
        claims.set(key, held.set(claimId, { precedence, service: after }));
        touched.add(key);
      }
    }
    for (const key of touched) for (const selecting of [index, groups]) selecting.setSelector(key, ownerOf(key)?.service);
    const affected = refreshServices(touched);
    refreshEndpoints(affected);
    allocate(affected);
  };

  const takeWorkloads = (changes: readonly Change<Workload>[]): void => {
    workloads.apply(changes.map(({ key, after }) => [key, after]));
    refreshEndpoints(index.apply(changes));
  };

  const takeTemplates = (changes: readonly Change<WorkloadTemplate>[]): void => refreshEndpoints(groups.apply(changes));

  /** Gives the services that it is about: those asked for, and those whose names changed hands. */
  const refreshServices = (keys: ReadonlySet<ServiceKey>): Set<ServiceKey> => {
    const owners = [...keys].map((key) => [key, ownerOf(key)] as const);
    const changed = names.apply(
      owners.map(([key, owner]) =>
        owner === undefined
          ? { key }
          : {
              key,
              after: {
                hosts: [owner.service.hostname, ...owner.service.aliases],
                shortHosts: shortHosts(owner.service, meshDomain),
                addresses: addressesOf(key, owner.service),
                isCanonical: owner.service.claim === "canonical",
                precedence: owner.precedence,
              },
            },
      ),
    );
    const affected = new Set([...keys, ...changed.services, ...changed.claimants]);
    services.apply([...affected].map((key) => [key, buildService(key)]));
    return affected;
  };

  /**
   * The service that owns its key and its hostname. One without its hostname is
   * none: resources are named after that, and two of a name would be one.
   */
  const inForce = (key: ServiceKey): RegistryService | undefined => {
    const service = ownerOf(key)?.service;
    return service !== undefined && names.ownerOf(service.hostname) === key ? service : undefined;
  };

  const addressesOf = (key: ServiceKey, service: RegistryService): readonly string[] =>
    service.addresses.length > 0 ? service.addresses : vips.get(key);

  const buildService = (key: ServiceKey): Service | undefined => {
    const registered = inForce(key);
    if (registered === undefined) return undefined;
    const { claim: _claim, addresses: _addresses, backends: _backends, allowsPlaintext: _allowsPlaintext, notes: _notes, ...service } = registered;
    // An address that is another's would take that one's connections.
    return { ...service, vips: addressesOf(key, registered).filter((address) => names.ownerOf(address) === key) };
  };

  const refreshEndpoints = (keys: Iterable<ServiceKey>): void => {
    const joined = [...keys].map((key) => {
      const service = inForce(key);
      if (service === undefined) return { key, endpoints: undefined, notes: [] };
      const served = service.backends.kind === "explicit" ? service.backends.workloads : index.selected(key);
      return { key, ...joinEndpoints(service, served, groups.selected(key).length > 0, trustDomain) };
    });
    endpoints.apply(joined.map((entry) => [entry.key, entry.endpoints]));
    findings.apply(joined.map((entry) => [entry.key, findingsOf(entry.key, entry.notes)]));
  };

  const findingsOf = (key: ServiceKey, endpointNotes: readonly string[]): ServiceFindings | undefined => {
    const [owner, ...others] = sortedClaims(claims.get(key));
    if (owner === undefined) return undefined;
    const lost = names.lost(key).map(({ host, owner: holder }) =>
      host === owner.service.hostname
        ? `it gets no traffic: the name ${host} belongs to ${holder}`
        : `the name ${host} belongs to ${holder}`,
    );
    const notes = [...owner.service.notes, ...lost, ...endpointNotes];
    if (others.length === 0 && notes.length === 0) return undefined;
    return { pending: others.map(({ service }) => service.source), notes };
  };

  const needsAddress = ({ addresses, resolution, hostname }: RegistryService): boolean =>
    addresses.length === 0 && resolution !== "passthrough" && hostname.endsWith(`.${meshDomain}`) && !hostname.includes("*");

  const allocate = (touched: ReadonlySet<ServiceKey>): void => {
    const wanting = [...touched].filter((key) => {
      const service = inForce(key);
      return service !== undefined && needsAddress(service);
    });
    const released = [...touched].filter((key) => ownerOf(key) === undefined);
    if (wanting.length === 0 && released.length === 0) return;
    allocation = allocation
      .then(async () => {
        await vips.allocate(wanting);
        for (const key of released) if (ownerOf(key) === undefined) await vips.release(key);
        refreshServices(new Set(wanting));
        if (unsettled.size === 0) vipFailures = 0;
      })
      .catch((failure: unknown) => {
        for (const key of [...wanting, ...released]) unsettled.add(key);
        if (!isClosed) cancelVipRetry ??= clock.after(backoffDelay(VIP_RETRY, vipFailures++), retryAllocation);
        onVipFailure(failure);
      });
  };
  const retryAllocation = (): void => {
    cancelVipRetry = undefined;
    const again = new Set(unsettled);
    unsettled.clear();
    allocate(again);
  };

  const stops = registries.flatMap((registry, precedence) => [
    registry.templates.subscribe(takeTemplates),
    registry.workloads.subscribe(takeWorkloads),
    registry.services.subscribe((changes) => takeServices(precedence, changes)),
  ]);
  for (const [precedence, registry] of registries.entries()) {
    takeTemplates(contentOf(registry.templates));
    takeWorkloads(contentOf(registry.workloads));
    takeServices(precedence, contentOf(registry.services));
  }

  return {
    services,
    endpoints,
    workloads,
    names,
    findings,
    settled: () => allocation,
    async close() {
      isClosed = true;
      cancelVipRetry?.();
      for (const stop of stops) stop();
      await allocation;
    },
  };
}

function sortedClaims(held: ReadonlyMap<string, Claim> | undefined): Claim[] {
  return [...(held ?? [])]
    .sort(([leftId, left], [rightId, right]) => left.precedence - right.precedence || (leftId < rightId ? -1 : 1))
    .map(([, claim]) => claim);
}

/** `reviews.default` and `reviews.default.svc`, for a service whose hostname is the mesh's own. */
function shortHosts({ hostname }: RegistryService, meshDomain: string): string[] {
  const ending = `.svc.${meshDomain}`;
  if (!hostname.endsWith(ending)) return [];
  const short = hostname.slice(0, -ending.length);
  return [short, `${short}.svc`];
}

/** What is there, as changes from nothing. */
function contentOf<T>(collection: Collection<T>): Change<T>[] {
  return [...collection.entries()].map(([key, after]) => ({ key, after }));
}
