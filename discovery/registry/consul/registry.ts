import type { Clock } from "../../../base/clock.ts";
import { SourceCollection } from "../../../base/collection.ts";
import type { CodedError } from "../../../base/coded-error.ts";
import { RegistryActivity } from "../activity.ts";
import { withStaleHealth } from "../last-good.ts";
import type { Recall } from "../last-good.ts";
import type { Registry, RegistryFailure, RegistryService } from "../registry.ts";
import { createConsulClient } from "./client.ts";
import type { ConsulClient, ConsulEndpoint } from "./client.ts";
import { CONSUL_DEFAULTS } from "./defaults.ts";
import type { ConsulPacing } from "./defaults.ts";
import type { ConsulEntry } from "./entry.ts";
import { followHints } from "./hints.ts";
import { memberOf, membersIn } from "./members.ts";
import { Pulse } from "./pulse.ts";
import { Schedule } from "./schedule.ts";
import type { Place } from "./schedule.ts";
import { isOnOneOf } from "./instance.ts";
import { chooseNames, isIgnored } from "./names.ts";
import type { ChosenNames } from "./names.ts";
import { buildConsulService } from "./service.ts";
import type { ServiceSettings } from "./service.ts";
import { Sidecars } from "./sidecars.ts";
import { describeReading } from "./status.ts";
import { followTokenFile } from "./token-file.ts";
import { consulFailure, lastingFailure, TRANSIENT } from "./failure.ts";
import { followQuery } from "./watch.ts";

export interface ConsulRegistryOptions extends Omit<ConsulEndpoint, "maxConnections">, Partial<Pick<ConsulEndpoint, "maxConnections">> {
  /** As configured, unique in the mesh. */
  readonly name: string;
  /** Namespace of the mesh that its services appear in. */
  readonly namespace: string;
  readonly meshDomain: string;
  readonly datacenter?: string | undefined;
  readonly tokenFile?: string | undefined;
  readonly addressTag?: string | undefined;
  readonly network?: string | undefined;
  readonly dnsDomain?: string;
  readonly ignoredSources?: readonly string[];
  readonly ignoredServices?: readonly string[] | undefined;
  /** How old content may be whose health is believed; without end where absent. Milliseconds. */
  readonly maxAgeMs?: number | undefined;
  readonly pacing?: Partial<ConsulPacing>;
  readonly clock: Clock;
  /** Called once, when the first complete content is published. */
  readonly onSynced?: () => void;
  /** What was read last, before this start, by the services' names in Consul: a first answer that lacks some of it is judged as any other loss. */
  readonly recalled?: Recall;
  /** For tests; the real one is made of the endpoint. */
  readonly client?: ConsulClient;
}

const NO_LEADER = consulFailure("MESH_REGISTRY_UNAVAILABLE", "consul has no leader: what it says may be old, and losses are not believed");

/** The list of 10,000 names costs Consul 140 ms; asked for at this pace it takes a fifteenth of a core. */
const LIST_MS_PER_ENTRY = 0.2;

/** What points at changes says little, and is worth asking for often. */
const HINT_MS = 200;

/** After so many failures of one service, while the list is answered, it is the service that has them: about ten seconds. */
const OWN_FAILURES = 5;

interface ServiceWatch {
  readonly abort: AbortController;
  readonly place: Place;
  readonly finished: Promise<void>;
  failure: RegistryFailure | undefined;
  hasAnswered: boolean;
  hasContent: boolean;
  /** In a row. */
  failures: number;
  /** By `Clock.elapsed`. */
  confirmedAt: number;
}

/**
 * Reads a datacenter of Consul: one question for the names of services, and one
 * per service for its instances and their health. They wait at Consul for what
 * changes, as long as it gives enough connections.
 */
export function createConsulRegistry(options: ConsulRegistryOptions): Registry {
  const { name, clock } = options;
  const pacing: ConsulPacing = { ...CONSUL_DEFAULTS.pacing, ...options.pacing };
  const settings: ServiceSettings = {
    registry: name,
    namespace: options.namespace,
    meshDomain: options.meshDomain,
    datacenter: options.datacenter,
    partition: options.partition,
    consulNamespace: options.consulNamespace,
    addressTag: options.addressTag ?? "",
    network: options.network ?? "",
    dnsDomain: options.dnsDomain ?? CONSUL_DEFAULTS.dnsDomain,
    ignoredSources: options.ignoredSources ?? CONSUL_DEFAULTS.ignoredSources,
  };
  const client = options.client ?? createConsulClient({ ...options, maxConnections: options.maxConnections ?? CONSUL_DEFAULTS.maxConnections });
  const activity = new RegistryActivity();
  const pulse = new Pulse();
  const token = options.tokenFile === undefined ? () => Promise.resolve(undefined) : followTokenFile(options.tokenFile);
  const shared = { datacenter: options.datacenter, token, clock, pacing, activity };
  const schedule = new Schedule(() => client.capacity(), clock, pacing);
  const services = new SourceCollection<RegistryService>();
  const ignoredServices = options.ignoredServices ?? CONSUL_DEFAULTS.ignoredServices;
  const watches = new Map<string, ServiceWatch>();
  const sidecars = new Sidecars();
  /** What is read, before what others say about it. */
  const built = new Map<string, RegistryService>();
  const unanswered = new Set<string>();
  let isPublished = false;
  let list: { readonly finished: Promise<void> } | undefined;
  let listFailure: RegistryFailure | undefined;
  let listConfirmedAt: number | undefined;
  /** It answers, out of what a server had when there was a leader. */
  let leaderless: RegistryFailure | undefined;
  let isListFiltered = false;
  /** What it says is older than may be believed. */
  let isOld = false;
  let cancelAging: (() => void) | undefined;
  let chosen: ChosenNames | undefined;
  let hints: { readonly abort: AbortController; readonly finished: Promise<void> } | undefined;
  const hintFailures = new Map<string, RegistryFailure>();
  const closing = new AbortController();

  /** Gives whether services came or went. */
  function takeNames(all: readonly string[]): boolean {
    const before = chosen?.asked ?? new Map([...(options.recalled?.services().keys() ?? [])].map((service) => [service.toLowerCase(), service]));
    chosen = chooseNames(all.filter((service) => !isIgnored(service, ignoredServices)), before);
    const wanted = new Set(chosen.asked.values());
    const gone = [...watches.keys()].filter((service) => !wanted.has(service));
    const added = [...wanted].filter((service) => !watches.has(service));
    for (const service of gone) forget(service);
    for (const service of added) watches.set(service, watchService(service));
    schedule.stir();
    return gone.length + added.length > 0;
  }

  function forget(service: string): void {
    const watch = watches.get(service);
    watches.delete(service);
    unanswered.delete(service);
    watch?.abort.abort();
    if (watch !== undefined) schedule.leave(watch.place);
    built.delete(service);
    publish([service, ...sidecars.set(service, [])]);
  }

  function watchService(service: string): ServiceWatch {
    const abort = new AbortController();
    const place = schedule.join();
    unanswered.add(service);
    const ends = AbortSignal.any([abort.signal, closing.signal]);
    const follow = (): Promise<void> =>
      followQuery(
        {
          ...shared,
          pulse,
          ask: (query) => client.health(service, query),
          membersOf: (entries: readonly ConsulEntry[]) => entries.map(memberOf),
          recalled: membersIn(options.recalled?.services().get(service), name),
          turn: (isFirst, signal) => schedule.turn(place, isFirst, signal),
          onContent(entries, { isLeaderKnown }) {
            if (abort.signal.aborted) return false;
            watch.hasContent = true;
            if (isLeaderKnown) watch.confirmedAt = clock.elapsed();
            const hasChanged = entries !== undefined && takeInstances(service, entries);
            answered(service, watch);
            return hasChanged;
          },
          onFailure(failure) {
            watch.failure = failureOf(failure, watch.failure);
            watch.failures = failure === undefined ? 0 : watch.failures + 1;
            // Consul may have refused connections: there are fewer now.
            judgeHints();
            // One service that cannot be read does not hold the others back; a Consul that is away, or busy, does.
            if (failure !== undefined && isOwnFailure(failure, watch)) answered(service, watch);
          },
        },
        ends,
      );
    const watch: ServiceWatch = { abort, place, failure: undefined, hasAnswered: false, hasContent: false, failures: 0, confirmedAt: isPublished ? clock.elapsed() : startingAt(service), finished: Promise.resolve().then(follow) };
    return watch;
  }

  /** Since when what this process has not read itself is known: it may be what the one before left. */
  function startingAt(service: string): number {
    const { recalled } = options;
    return clock.elapsed() - ((recalled?.services().has(service) === true ? recalled.ageMs() : undefined) ?? 0);
  }

  function isOwnFailure({ code }: CodedError, { failures }: ServiceWatch): boolean {
    if (!TRANSIENT.has(code)) return true;
    return code !== "MESH_REGISTRY_THROTTLED" && failures >= OWN_FAILURES && listFailure === undefined;
  }

  /** Gives whether the content changed. */
  function takeInstances(service: string, entries: readonly ConsulEntry[]): boolean {
    const next = buildConsulService(service, entries, settings);
    if (next === undefined) built.delete(service);
    else built.set(service, next);
    return publish([service, ...sidecars.set(service, entries)]);
  }

  function answered(service: string, watch: ServiceWatch): void {
    if (watch.hasAnswered || watch.abort.signal.aborted) return;
    watch.hasAnswered = true;
    unanswered.delete(service);
    publishFirst();
  }

  function publish(names: readonly string[]): boolean {
    if (!isPublished) return true;
    const before = names.map((service) => services.get(service));
    services.apply(names.map((service) => [service, contentOf(service)] as const));
    return names.some((service, at) => services.get(service) !== before[at]);
  }

  function contentOf(service: string): RegistryService | undefined {
    const own = built.get(service);
    if (own === undefined) return undefined;
    const told = sidecars.describe(service, own);
    return isOld ? withStaleHealth(told) : told;
  }

  /** What it says is as old as the last word of a leader; where none was heard yet, as the first word at all, or as what was stored. */
  function takeAge(isLeaderKnown: boolean): void {
    if (isLeaderKnown) {
      listConfirmedAt = clock.elapsed();
      setOld(false);
      cancelAging?.();
      cancelAging = undefined;
    }
    listConfirmedAt ??= clock.elapsed() - (options.recalled?.ageMs() ?? 0);
    const { maxAgeMs } = options;
    if (maxAgeMs !== undefined && !closing.signal.aborted) cancelAging ??= clock.after(Math.max(0, listConfirmedAt + maxAgeMs - clock.elapsed()), () => setOld(true));
  }

  function setOld(next: boolean): void {
    if (isOld === next) return;
    isOld = next;
    publish([...built.keys()]);
  }

  /** Publishes the first content as a whole: no half states. */
  function publishFirst(): void {
    if (isPublished || listConfirmedAt === undefined || unanswered.size > 0) return;
    isPublished = true;
    // Who may not be read is there all the same: the list names it.
    for (const [service, { hasContent }] of watches) {
      const known = hasContent ? undefined : options.recalled?.services().get(service);
      if (known !== undefined) built.set(service, known);
    }
    services.apply([...built.keys()].map((service) => [service, contentOf(service)] as const));
    options.onSynced?.();
  }

  /** Where there are too many services for a question each, something has to point at those that changed. */
  function judgeHints(): void {
    if (schedule.isCrowded === (hints !== undefined)) return;
    if (hints !== undefined) {
      hints.abort.abort();
      hints = undefined;
      hintFailures.clear();
      return;
    }
    const abort = new AbortController();
    const finished = followHints(
      {
        client,
        shared: { ...shared, pulse },
        waitMs: pacing.waitMs,
        intervalMs: (entries) => Math.max(Math.min(HINT_MS, pacing.intervalMs), Math.round(entries * LIST_MS_PER_ENTRY)),
        onService(service) {
          const watch = watches.get(chosen?.asked.get(service.toLowerCase()) ?? service);
          if (watch !== undefined) schedule.hurry(watch.place);
        },
        // Once for all of them: where a whole zone fails they are hundreds.
        onNodeHealth(nodes) {
          for (const [service, { backends }] of built) {
            const watch = watches.get(service);
            if (watch !== undefined && backends.kind === "explicit" && backends.workloads.some(({ key }) => isOnOneOf(nodes, key))) schedule.hurry(watch.place);
          }
        },
        onNodes: () => schedule.stir(),
        onFailure(asked, failure) {
          const seen = failureOf(failure, hintFailures.get(asked));
          if (seen === undefined) hintFailures.delete(asked);
          else hintFailures.set(asked, seen);
        },
      },
      AbortSignal.any([abort.signal, closing.signal]),
    );
    hints = { abort, finished };
  }

  function paceOf(entries: number): number {
    return Math.max(pacing.intervalMs, Math.round(entries * LIST_MS_PER_ENTRY));
  }

  function failureOf(failure: CodedError | undefined, before: RegistryFailure | undefined): RegistryFailure | undefined {
    return failure === undefined ? undefined : lastingFailure(failure, before?.since ?? clock.now());
  }

  function recalledNames(): ReadonlySet<string> | undefined {
    const names = new Set(options.recalled?.services().keys());
    return names.size === 0 ? undefined : names;
  }

  function followList(): Promise<void> {
    const never = new AbortController().signal;
    return followQuery(
      {
        ...shared,
        pacing: { ...pacing, intervalMs: () => paceOf(watches.size) },
        ask: async (query) => {
          const answer = await client.services(query);
          isListFiltered = answer.isFiltered;
          return answer;
        },
        membersOf: (names: readonly string[]) => names,
        recalled: recalledNames(),
        turn: async (isFirst) => ({ waitMs: isFirst ? 0 : pacing.waitMs, signal: never, release() {} }),
        onContent(names, { isLeaderKnown }) {
          takeAge(isLeaderKnown);
          // What waits at a server that was cut off hears of nothing; another one may know more.
          if (isLeaderKnown !== (leaderless === undefined)) schedule.restart();
          leaderless = isLeaderKnown ? undefined : failureOf(NO_LEADER, leaderless);
          const hasChanged = names !== undefined && takeNames(names);
          judgeHints();
          publishFirst();
          return hasChanged;
        },
        onFailure(failure) {
          listFailure = failureOf(failure, listFailure);
          if (failure !== undefined && TRANSIENT.has(failure.code)) pulse.stop();
          else if (pulse.recovery !== undefined) {
            pulse.beat();
            // What hangs on a line that died in silence does not know it yet.
            schedule.restart();
          }
        },
        // A question that waits for an index of the data before would wait until its time is over.
        onReset: () => schedule.restart(),
      },
      closing.signal,
    );
  }

  return {
    name,
    services,
    // Instances belong to their services: whoever writes tags and meta in Consul is selected by nobody.
    workloads: new SourceCollection(),
    templates: new SourceCollection(),

    start() {
      list ??= { finished: followList() };
    },

    status: () =>
      describeReading({
        name,
        isPublished,
        nowMs: clock.elapsed(),
        content: services.entries(),
        watches,
        listConfirmedAt,
        failure: listFailure ?? leaderless,
        skipped: chosen?.skipped ?? [],
        isFiltered: isListFiltered,
        hintFailures,
        slowPassMs: pacing.slowPassMs,
        crowding: schedule.isCrowded ? { capacity: client.capacity(), latestMs: (watches.size / pacing.sweepPerSecond) * 1_000 + paceOf(watches.size) } : undefined,
        // The list, what points at changes, and the services.
        counters: activity.counters(1 + (hints === undefined ? 0 : 3) + watches.size),
      }),

    async close() {
      closing.abort();
      cancelAging?.();
      schedule.close();
      await Promise.all([list?.finished, hints?.finished, ...[...watches.values()].map(({ finished }) => finished)]);
      client.close();
    },
  };
}
