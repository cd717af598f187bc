import type { Clock } from "../../../base/clock.ts";
import { SourceCollection } from "../../../base/collection.ts";
import type { CodedError } from "../../../base/coded-error.ts";
import type { SecretBytes } from "../../../base/secret-bytes.ts";
import type { Registry, RegistryFailure, RegistryService } from "../registry.ts";
import { createConsulClient } from "./client.ts";
import type { ConsulClient, ConsulEndpoint } from "./client.ts";
import type { ConsulEntry } from "./entry.ts";
import { buildConsulService, isServiceName } from "./service.ts";
import type { ServiceSettings } from "./service.ts";
import { Slots } from "./slots.ts";
import { followTokenFile } from "./token-file.ts";
import { followQuery } from "./watch.ts";
import type { WatchPacing } from "./watch.ts";

export interface ConsulRegistryOptions extends Omit<ConsulEndpoint, "maxConnections">, Partial<Pick<ConsulEndpoint, "maxConnections">> {
  /** As configured, unique in the mesh. */
  readonly name: string;
  /** Namespace of the mesh that its services appear in. */
  readonly namespace: string;
  readonly meshDomain: string;
  readonly datacenter?: string | undefined;
  readonly tokenFile?: string | undefined;
  readonly addressTag?: string;
  readonly network?: string;
  readonly dnsDomain?: string;
  readonly ignoredSources?: readonly string[];
  readonly ignoredServices?: readonly string[];
  readonly pacing?: Partial<WatchPacing>;
  readonly clock: Clock;
  /** Called once, when the first complete content is published. */
  readonly onSynced?: () => void;
  /** For tests; the real one is made of the endpoint. */
  readonly client?: ConsulClient;
}

export const CONSUL_DEFAULTS = {
  /** Below Consul's own limit of 200 per address, which its other users share. */
  maxConnections: 128,
  dnsDomain: "consul",
  /** What the mesh wrote into Consul itself. */
  ignoredSources: ["ironmesh"],
  /** Consul's own servers. */
  ignoredServices: ["consul"],
  pacing: {
    // A question that was asked right before a reset of Consul's data is lost until its wait is over.
    waitMs: 55_000,
    contendedWaitMs: 2_000,
    intervalMs: 1_000,
    // Agents register again within a minute (anti-entropy), or two in a cluster of thousands.
    resetHoldMs: 120_000,
    backoff: { baseMs: 500, maxMs: 30_000 },
  },
} as const;

/** Failures that pass without anybody doing anything about the registry. */
const TRANSIENT: ReadonlySet<string> = new Set(["MESH_REGISTRY_UNREACHABLE", "MESH_REGISTRY_UNAVAILABLE", "MESH_REGISTRY_THROTTLED"]);

interface ServiceWatch {
  readonly abort: AbortController;
  readonly finished: Promise<void>;
  failure: RegistryFailure | undefined;
  hasAnswered: boolean;
  confirmedAt: number;
}

/**
 * Reads a datacenter of Consul: one blocking query for the names of services,
 * and one per service for its instances and their health.
 */
export function createConsulRegistry(options: ConsulRegistryOptions): Registry {
  const { name, clock } = options;
  const maxConnections = options.maxConnections ?? CONSUL_DEFAULTS.maxConnections;
  const pacing: WatchPacing = { ...CONSUL_DEFAULTS.pacing, ...options.pacing };
  const settings: ServiceSettings = {
    registry: name,
    namespace: options.namespace,
    meshDomain: options.meshDomain,
    datacenter: options.datacenter,
    addressTag: options.addressTag ?? "",
    network: options.network ?? "",
    dnsDomain: options.dnsDomain ?? CONSUL_DEFAULTS.dnsDomain,
    ignoredSources: options.ignoredSources ?? CONSUL_DEFAULTS.ignoredSources,
  };
  const client = options.client ?? createConsulClient({ ...options, maxConnections });
  const token: () => Promise<SecretBytes | undefined> = options.tokenFile === undefined ? () => Promise.resolve(undefined) : followTokenFile(options.tokenFile);
  const services = new SourceCollection<RegistryService>();
  const ignoredServices = new Set(options.ignoredServices ?? CONSUL_DEFAULTS.ignoredServices);
  // One place is for the list of names, which never waits behind the services.
  const slots = new Slots(Math.max(1, maxConnections - 1));
  const watches = new Map<string, ServiceWatch>();
  /** What was read before the first complete content; undefined once that is published. */
  let staged: Map<string, RegistryService> | undefined = new Map();
  let listFailure: RegistryFailure | undefined;
  let listConfirmedAt: number | undefined;
  let skipped: readonly string[] = [];
  const closing = new AbortController();
  let list: Promise<void> | undefined;

  function takeNames(all: readonly string[]): void {
    listConfirmedAt = clock.now();
    const names = all.filter((service) => !ignoredServices.has(service));
    const wanted = new Set(names.filter(isServiceName));
    skipped = names.filter((service) => !wanted.has(service));
    for (const [service, watch] of watches) {
      if (wanted.has(service)) continue;
      watch.abort.abort();
      watches.delete(service);
      staged?.delete(service);
      services.apply([[service, undefined]]);
    }
    for (const service of wanted) if (!watches.has(service)) watches.set(service, watchService(service));
    publishFirst();
  }

  function watchService(service: string): ServiceWatch {
    const abort = new AbortController();
    const watch: ServiceWatch = {
      abort,
      failure: undefined,
      hasAnswered: false,
      confirmedAt: clock.now(),
      finished: Promise.resolve().then(() =>
        followQuery(
          {
            ask: (query) => client.health(service, query),
            membersOf: (entries) => entries.map(memberOf),
            datacenter: options.datacenter,
            token,
            slots,
            clock,
            pacing,
            onContent(entries) {
              if (abort.signal.aborted) return;
              watch.confirmedAt = clock.now();
              takeInstances(service, watch, entries);
            },
            onFailure(failure) {
              watch.failure = failureOf(failure, watch.failure);
              // One service that may not be read does not hold the others back; a Consul that is away does.
              if (failure !== undefined && !TRANSIENT.has(failure.code)) watch.hasAnswered = true;
              publishFirst();
            },
          },
          AbortSignal.any([abort.signal, closing.signal]),
        ),
      ),
    };
    return watch;
  }

  function takeInstances(service: string, watch: ServiceWatch, entries: readonly ConsulEntry[]): void {
    watch.hasAnswered = true;
    const built = buildConsulService(service, entries, settings);
    if (staged === undefined) services.apply([[service, built]]);
    else if (built === undefined) staged.delete(service);
    else staged.set(service, built);
    publishFirst();
  }

  /** Publishes the first content as a whole: no half states. */
  function publishFirst(): void {
    if (staged === undefined || listConfirmedAt === undefined) return;
    if ([...watches.values()].some(({ hasAnswered }) => !hasAnswered)) return;
    const first = staged;
    staged = undefined;
    services.replaceAll(first);
    options.onSynced?.();
  }

  function failureOf(failure: CodedError | undefined, before: RegistryFailure | undefined): RegistryFailure | undefined {
    if (failure === undefined) return undefined;
    const { code, message, hint } = failure;
    return { code, message, ...(hint === undefined ? {} : { hint }), since: before?.since ?? clock.now() };
  }

  return {
    name,
    services,
    // Instances belong to their services: whoever writes tags and meta in Consul is selected by nobody.
    workloads: new SourceCollection(),
    templates: new SourceCollection(),

    start() {
      list ??= followQuery(
        {
          ask: (query) => client.services(query),
          membersOf: (names) => names,
          datacenter: options.datacenter,
          token,
          slots: new Slots(1),
          clock,
          pacing,
          onContent: takeNames,
          onFailure(failure) {
            listFailure = failureOf(failure, listFailure);
          },
        },
        closing.signal,
      );
    },

    status() {
      const watched = [...watches];
      // What the whole Consul suffers from is said once, not for each service.
      const failed = watched.flatMap(([service, { failure }]) =>
        failure === undefined || failure.code === listFailure?.code ? [] : [{ ...failure, message: `${service}: ${failure.message}` }],
      );
      const lastError = listFailure ?? failed[0];
      const confirmed = watched.map(([, { confirmedAt }]) => confirmedAt);
      const oldest = listConfirmedAt === undefined ? undefined : Math.min(listConfirmedAt, ...confirmed);
      const content = [...services.entries()];
      return {
        name,
        kind: "consul",
        synced: staged === undefined,
        ...(oldest === undefined ? {} : { ageMs: Math.max(0, clock.now() - oldest) }),
        ...(lastError === undefined ? {} : { lastError }),
        services: content.length,
        workloads: content.reduce((sum, [, { backends }]) => sum + (backends.kind === "explicit" ? backends.workloads.length : 0), 0),
        notes: [
          ...skipped.map((service) => `${service} is left out: its name is no DNS label`),
          ...failed.map(({ message }) => message),
          ...content.flatMap(([service, { notes }]) => notes.map((note) => `${service}: ${note}`)),
        ].sort(),
      };
    },

    async close() {
      closing.abort();
      await Promise.all([list, ...[...watches.values()].map(({ finished }) => finished)]);
      client.close();
    },
  };
}

function memberOf({ Node: node, Service: service }: ConsulEntry): string {
  return [node.Datacenter, node.Partition, service.Namespace, node.Node, service.ID].join("/");
}
