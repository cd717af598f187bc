import { isDeepStrictEqual } from "node:util";
import type { Clock } from "../../base/clock.ts";
import { SourceCollection } from "../../base/collection.ts";
import type { Change } from "../../base/collection.ts";
import { messageOf } from "../../base/coded-error.ts";
import type { Health, Workload } from "../../model/workload.ts";
import type { KeyValueStore } from "../../store/key-value.ts";
import { LatestWriter } from "./latest-writer.ts";
import { packText, unpackText } from "./packed-text.ts";
import type { Registry, RegistryFailure, RegistryService, RegistryStatus } from "./registry.ts";

/** Of what is stored: content of another format is not read. */
const FORMAT = 1;
/** How often it is written down that the content still holds: after a restart its age is told by at most this much too high. */
const CONFIRM_INTERVAL_MS = 60_000;
/** Confirmations that are less apart are one. */
const SAME_CONFIRMATION_MS = 1_000;
/** How many services a note names. */
const NAMED = 3;

interface StoredService {
  readonly format: typeof FORMAT;
  readonly id: string;
  readonly service: RegistryService;
  /** Of what it was read; absent in what an earlier version wrote. */
  readonly scope?: string;
}

/** When the registry itself last confirmed what is stored. Milliseconds since the epoch. */
interface StoredConfirmation {
  readonly format: typeof FORMAT;
  readonly confirmedAt: number;
}

/** What a registry said before, to the process before this one too. */
export interface Recall {
  /** The last good values, by id. */
  services(): ReadonlyMap<string, RegistryService>;
  /** How long ago all of it was confirmed, as far as that is known. */
  ageMs(): number | undefined;
}

/** Which of the stored services the settings of today could give. */
export interface Admission {
  /** What is read, in words that differ where that does: of another scope nothing is taken. */
  readonly scope: string;
  /** Others whose content may be of this one too, as `admit` then judges. */
  readonly widerScopes?: readonly string[];
  /** The service as far as the settings give it; undefined: not at all. */
  admit(id: string, service: RegistryService): RegistryService | undefined;
}

/** A registry whose content outlives the process. */
export interface LastGoodRegistry extends Registry {
  /** Reads what the store has; until the registry itself has synced, that is the content. */
  load(): Promise<void>;
}

/**
 * Keeps the services of a registry in the store, so that a control plane that
 * starts while the registry is away begins with what was true last, instead of
 * telling every host that its services are gone. For registries whose workloads
 * all belong to services.
 *
 * @param create makes the registry, which it owns from then on; `onSynced` is to be called once, after the first complete content is published;
 * `recalled` gives the last good content, to judge the first answers by, and for what cannot be read by itself while the rest can
 */
export function keepLastGood(
  create: (onSynced: () => void, recalled: Recall) => Registry,
  options: { readonly kind: RegistryStatus["kind"]; readonly store: KeyValueStore; readonly clock: Clock; readonly admission: Admission },
): LastGoodRegistry {
  const { kind, store, clock, admission } = options;
  const registry = create(begin, { services: () => services.entries(), ageMs: storedAgeMs });
  const prefix = `registry/${registry.name}/`;
  const confirmationKey = `registry-confirmed/${registry.name}`;
  const services = new SourceCollection<RegistryService>();
  let storeFailure: RegistryFailure | undefined;
  /** What the registry threw: its bug, which is nobody else's. */
  let bug: RegistryFailure | undefined;
  const writer = new LatestWriter(store, clock, (failure) => {
    if (failure === undefined) storeFailure = undefined;
    else storeFailure ??= { code: "MESH_REGISTRY_STORE", message: `the last good content is not saved: ${messageOf(failure)}`, since: clock.now() };
  });
  let isLoaded = false;
  /** All that the store had, and what of it the settings do not give any more, or in part. */
  let stored: ReadonlySet<string> = new Set();
  let cut: readonly string[] = [];
  let isClosed = false;
  let savedConfirmation: number | undefined;
  let stopConfirming: (() => void) | undefined;
  /** The registry's own content has replaced what was loaded. */
  let isTaken = false;

  /** The registry has spoken: what it does not have is no more. */
  function begin(): void {
    if (isClosed || isTaken) return;
    isTaken = true;
    services.replaceAll(registry.services.entries());
    for (const id of stored) if (services.get(id) === undefined) writer.write(storeKey(id), undefined);
    for (const [id, service] of services.entries()) writer.write(storeKey(id), () => encode(id, service, admission.scope));
    followConfirmation();
  }

  function followConfirmation(): void {
    saveConfirmation();
    stopConfirming = clock.after(CONFIRM_INTERVAL_MS, followConfirmation);
  }

  /** What the registry says of itself, or that it cannot: the others go on. */
  function ownStatus(): RegistryStatus {
    const attempt = guarded(() => registry.status());
    return attempt ?? { name: registry.name, kind, synced: false, services: 0, workloads: 0, notes: [] };
  }

  function guarded<T>(work: () => T): T | undefined {
    try {
      return work();
    } catch (thrown) {
      bug ??= { code: "MESH_REGISTRY_BROKEN", message: `the registry threw: ${messageOf(thrown)}`, since: clock.now() };
      return undefined;
    }
  }

  function saveConfirmation(): void {
    const { ageMs } = ownStatus();
    if (!isTaken || ageMs === undefined) return;
    const confirmedAt = Math.round(clock.now() - ageMs);
    // Two clocks are not read at one moment: what differs by less tells nothing.
    if (savedConfirmation !== undefined && Math.abs(confirmedAt - savedConfirmation) < SAME_CONFIRMATION_MS) return;
    savedConfirmation = confirmedAt;
    const stored: StoredConfirmation = { format: FORMAT, confirmedAt };
    writer.write(confirmationKey, JSON.stringify(stored));
  }

  function take(changes: readonly Change<RegistryService>[]): void {
    if (isClosed || !isTaken) return;
    services.apply(changes.map(({ key, after }) => [key, after]));
    for (const { key, after } of changes) writer.write(storeKey(key), after === undefined ? undefined : () => encode(key, after, admission.scope));
  }

  function storedAgeMs(): number | undefined {
    return savedConfirmation === undefined ? undefined : Math.max(0, clock.now() - savedConfirmation);
  }

  /** What would be served under names of before could be somebody else's by now. */
  function takeStored(all: readonly StoredService[]): void {
    const scopes = new Set([admission.scope, ...(admission.widerScopes ?? [])]);
    const admitted = all.map(({ id, service, scope = admission.scope }) => [id, service, scopes.has(scope) ? admission.admit(id, service) : undefined] as const);
    services.replaceAll(new Map(admitted.flatMap(([id, , service]) => (service === undefined ? [] : [[id, withStaleHealth(service)]]))));
    stored = new Set(all.map(({ id }) => id));
    cut = admitted.filter(([, before, after]) => !isDeepStrictEqual(before, after)).map(([id]) => id).sort();
    isLoaded = services.entries().size > 0;
  }

  function notesOfStore(): string[] {
    if (isTaken) return [];
    return [
      ...(isLoaded ? ["its content is the last good one from the store, until it answers"] : []),
      ...(cut.length === 0 ? [] : [`until it answers, ${cut.slice(0, NAMED).join(", ")}${cut.length > NAMED ? ` and ${cut.length - NAMED} more services` : ""} of the store are left out, or parts of them: its settings do not give them any more`]),
    ];
  }

  function storeKey(id: string): string {
    return prefix + encodeURIComponent(id);
  }

  const unsubscribe = registry.services.subscribe(take);

  return {
    name: registry.name,
    services,
    servicesStandAlone: true,
    workloads: registry.workloads,
    templates: registry.templates,
    async load() {
      const { items } = await store.list(prefix);
      if (isTaken || isClosed) return;
      takeStored(items.flatMap(({ value }) => decode(value)));
      savedConfirmation = decodeConfirmation((await store.get(confirmationKey))?.value);
    },
    start: () => guarded(() => registry.start()),
    status() {
      const inner = ownStatus();
      const notes = [...inner.notes, ...notesOfStore()].sort();
      const lastError = inner.lastError ?? bug ?? storeFailure;
      const { ageMs: innerAgeMs, ...told } = inner;
      const ageMs = isTaken || !isLoaded ? innerAgeMs : storedAgeMs();
      return {
        ...told,
        ...(ageMs === undefined ? {} : { ageMs }),
        synced: isTaken || isLoaded,
        services: services.entries().size,
        workloads: [...services.entries().values()].reduce((sum, { backends }) => sum + (backends.kind === "explicit" ? backends.workloads.length : 0), 0),
        notes,
        ...(lastError === undefined ? {} : { lastError }),
      };
    },
    async close() {
      saveConfirmation();
      isClosed = true;
      stopConfirming?.();
      unsubscribe();
      await registry.close();
      await writer.close();
    },
  };
}

function encode(id: string, service: RegistryService, scope: string): string {
  const stored: StoredService = { format: FORMAT, id, service, scope };
  return packText(JSON.stringify(stored));
}

function decode(text: string): StoredService[] {
  // Our own writing, by the format's number; anything else is left out.
  const stored = JSON.parse(unpackText(text)) as StoredService;
  return stored.format === FORMAT ? [stored] : [];
}

function decodeConfirmation(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const { format, confirmedAt } = JSON.parse(text) as StoredConfirmation;
  return format === FORMAT ? confirmedAt : undefined;
}

/** What was healthy is not known to be; what was not keeps its reason. */
export function withStaleHealth(service: RegistryService): RegistryService {
  const { backends } = service;
  if (backends.kind === "selector") return service;
  return { ...service, backends: { kind: "explicit", workloads: backends.workloads.map((workload): Workload => ({ ...workload, health: staleHealth(workload.health) })) } };
}

function staleHealth(health: Health): Health {
  return health === "healthy" ? "unknown" : health;
}
