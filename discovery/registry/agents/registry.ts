import { isDeepStrictEqual } from "node:util";
import type { Clock } from "../../../base/clock.ts";
import { SourceCollection } from "../../../base/collection.ts";
import type { Collection } from "../../../base/collection.ts";
import { messageOf } from "../../../base/coded-error.ts";
import { createListeningClock } from "../../../base/listening-clock.ts";
import type { Workload } from "../../../model/workload.ts";
import type { KeyValueStore } from "../../../store/key-value.ts";
import { LatestWriter } from "../latest-writer.ts";
import type { Registry, RegistryFailure, RegistryService, WorkloadTemplate } from "../registry.ts";
import { AddressClaims, placeOf } from "./address-claims.ts";
import { buildReportedWorkload } from "./build-workload.ts";
import type { HostRecord, HostState, HostWorkload } from "./host-record.ts";
import { hostKey, loadHosts } from "./host-store.ts";
import type { StoredHost } from "./host-store.ts";
import { Losses } from "./losses.ts";
import type { GrantCheck, HostReport, Refusal } from "./report.ts";

/** The name of the registry of enrolled hosts. */
export const HOSTS_REGISTRY = "hosts";

export interface AgentsOptions {
  /** WorkloadGroups by `NAMESPACE/NAME`. */
  readonly templates: Collection<WorkloadTemplate>;
  readonly grants: GrantCheck;
  readonly store: KeyValueStore;
  readonly clock: Clock;
  readonly liveness: Liveness;
}

/** Times of silence count only while the control plane listens (`ListeningClock`). */
export interface Liveness {
  /** How long a host may be lost before it gets no new traffic. */
  readonly graceMs: number;
  /** How long the control plane waits for hosts that it knows from before its own start, or lost by its own fault; and longer while, within each grace, one of them comes: ten times as long at most. */
  readonly returnMs: number;
  /** How long a host that is gone stays listed. */
  readonly forgetMs: number;
}

export const LIVENESS_DEFAULTS: Liveness = { graceMs: 5_000, returnMs: 60_000, forgetMs: 3_600_000 };

/** Somebody who comes and goes all the time must not excuse for ever those that are dead: this many times the longer one of both times is enough. */
const MOST_PATIENCE = 10;

/** The registry of enrolled hosts, and their inventory. */
export interface AgentsRegistry extends Registry {
  /** By host id. */
  readonly hosts: Collection<HostRecord>;
  /** Reads what was known before a restart; `start` takes effect only after it. */
  load(): Promise<void>;
  /** The control plane serves from now on: lost hosts are judged from here, never earlier. */
  ready(): void;
  // What comes after `close` is ignored: the streams of a server that ends are no news of their hosts.

  /** An agent's stream opened; the returned function says that it closed. Streams are counted. */
  connected(hostId: string): () => void;
  /** Takes a report; gives what was not taken of it. */
  report(hostId: string, report: HostReport): readonly Refusal[];
  /** The host said farewell, or may not come back: it is removed at once. */
  remove(hostId: string): void;
  /** Grants changed: judges the last report of a host again. */
  recheck(hostId: string): void;
}

interface Host {
  report: HostReport | undefined;
  state: HostState;
  since: number;
  streams: number;
  /** Since when nothing was heard of it, by the time that counts (`attended`); undefined where it is connected, or is not judged yet. */
  silentSinceMs: number | undefined;
  cancelTimer: () => void;
}

export function createAgentsRegistry(options: AgentsOptions): AgentsRegistry {
  const { templates, grants, store, clock, liveness } = options;
  const services = new SourceCollection<RegistryService>();
  const workloads = new SourceCollection<Workload>();
  const hosts = new SourceCollection<HostRecord>();
  const known = new Map<string, Host>();
  const claims = new AddressClaims((hostId) => known.get(hostId)?.state === "gone");
  const writer = new LatestWriter(store, clock, (failure) => {
    if (failure === undefined) storeFailure = undefined;
    else storeFailure ??= {
      code: "MESH_REGISTRY_STORE",
      message: `what hosts report is not saved: ${messageOf(failure)}`,
      hint: "a restart of the control plane would not know these hosts until they report again",
      since: clock.now(),
    };
  });
  let storeFailure: RegistryFailure | undefined;
  const losses = new Losses(liveness.graceMs);
  const listening = createListeningClock(clock);
  /** Hosts that have a stream. */
  let present = 0;
  const longestMs = MOST_PATIENCE * Math.max(liveness.graceMs, liveness.returnMs);
  /** Since when most hosts are lost together, and none is there: nobody can be judged, and nobody is there to be told. */
  let cutOffSinceMs: number | undefined;
  /** All such times before. */
  let cutOffMs = 0;
  /** When a host came back last that was lost with most others, or known from before our start. */
  let returnedAtMs = Number.NEGATIVE_INFINITY;
  let isLoaded = false;
  let isReady = false;
  let isClosed = false;
  let unsubscribe: (() => void) | undefined;

  function hostOf(hostId: string): Host {
    const host = known.get(hostId) ?? { report: undefined, state: "suspect", since: clock.now(), streams: 0, silentSinceMs: undefined, cancelTimer: () => {} };
    known.set(hostId, host);
    return host;
  }

  /** The time in which we listened and were not cut off. */
  function attended(): number {
    return (cutOffSinceMs ?? listening.elapsed()) - cutOffMs;
  }

  /** A host's last stream ended. */
  function lose(hostId: string, host: Host): void {
    const ours = losses.note(hostId, listening.elapsed(), present);
    if (ours.length > 0 && present === 0) cutOffSinceMs = listening.elapsed();
    enter(hostId, host, ours.length > 0 ? "unknown" : "suspect");
    for (const id of ours) {
      const lost = known.get(id);
      if (lost?.state === "suspect") enter(id, lost, "unknown");
    }
    if (cutOffSinceMs !== undefined) scheduleUnknown();
  }

  function scheduleUnknown(): void {
    for (const [hostId, host] of known) if (host.state === "unknown") schedule(hostId, host);
  }

  function enter(hostId: string, host: Host, state: HostState): void {
    if (state === "connected" || state === "gone") losses.forget(hostId);
    if (host.state !== state) {
      const wasGone = host.state === "gone";
      host.state = state;
      host.since = clock.now();
      if (wasGone || state === "gone") save(hostId, host);
    }
    schedule(hostId, host);
    publish(hostId, host);
    if (state === "gone") publishAll(claims.waitingFor(hostId));
  }

  function publishAll(hostIds: Iterable<string>): void {
    for (const hostId of hostIds) {
      const host = known.get(hostId);
      if (host !== undefined) publish(hostId, host);
    }
  }

  /** Arms the one timer of a host: for the next state that silence leads to. */
  function schedule(hostId: string, host: Host): void {
    host.cancelTimer();
    host.cancelTimer = () => {};
    if (host.state === "connected") host.silentSinceMs = undefined;
    // Before it serves, the control plane itself is the one that is away.
    if (!isReady || isClosed || host.state === "connected" || (cutOffSinceMs !== undefined && host.state === "unknown")) return;
    if (host.state === "gone") {
      host.cancelTimer = clock.after(Math.max(0, host.since + liveness.forgetMs - clock.now()), () => remove(hostId));
      return;
    }
    host.silentSinceMs ??= attended();
    const delayMs = host.state === "unknown" ? liveness.returnMs : liveness.graceMs;
    host.cancelTimer = listening.after(Math.min(delayMs, patienceLeft(host)), () => judge(hostId, host));
  }

  /** How long a silent host may be waited for at most. */
  function patienceLeft(host: Host): number {
    const now = attended();
    return Math.max(0, (host.silentSinceMs ?? now) + longestMs - now);
  }

  /** A host was silent for as long as it may be. While others are still coming back it may be waiting behind them. */
  function judge(hostId: string, host: Host): void {
    const leftMs = Math.min(returnedAtMs + liveness.graceMs - listening.elapsed(), patienceLeft(host));
    if (leftMs > 0) host.cancelTimer = listening.after(leftMs, () => judge(hostId, host));
    else enter(hostId, host, "gone");
  }

  function publish(hostId: string, host: Host): void {
    const { report } = host;
    if (report === undefined) return;
    const taken = new Map<string, Workload>();
    const listed: HostWorkload[] = [];
    const refusals: Refusal[] = [];
    for (const workload of report.workloads) {
      const built = buildReportedWorkload({
        registry: HOSTS_REGISTRY,
        hostId,
        state: host.state,
        since: host.since,
        report,
        workload,
        template: templates.get(workload.group),
        grants,
        rivalOf: (place) => claims.rivalOf(hostId, place),
      });
      if (!built.ok) refusals.push({ workload: workload.name, reason: built.error });
      else if (taken.has(built.value.key)) refusals.push({ workload: workload.name, reason: "the host reports it twice" });
      else {
        taken.set(built.value.key, built.value);
        listed.push({ name: workload.name, group: workload.group, key: built.value.key, outboundPort: workload.outboundPort });
      }
    }
    const before = (hosts.get(hostId)?.workloads ?? []).map(({ key }) => [key, undefined] as const);
    workloads.apply(new Map<string, Workload | undefined>([...before, ...taken]));
    hosts.apply([[hostId, { hostId, state: host.state, since: host.since, report, workloads: listed, refusals }]]);
    const places = new Set([...taken.values()].flatMap(({ network, addresses }) => addresses.map((address) => placeOf(network, address))));
    const isMoved = !isDeepStrictEqual(claims.heldBy(hostId), places);
    const affected = claims.settle(hostId, places);
    if (isMoved) save(hostId, host);
    publishAll(affected);
  }

  function save(hostId: string, { report, state, since }: Host): void {
    if (report === undefined) return;
    const stored: StoredHost = { report, holds: [...claims.heldBy(hostId)].sort(), ...(state === "gone" ? { goneSince: since } : {}) };
    writer.write(hostKey(hostId), JSON.stringify(stored));
  }

  function remove(hostId: string): void {
    const host = known.get(hostId);
    host?.cancelTimer();
    known.delete(hostId);
    losses.forget(hostId);
    workloads.apply((hosts.get(hostId)?.workloads ?? []).map(({ key }) => [key, undefined]));
    hosts.apply([[hostId, undefined]]);
    writer.write(hostKey(hostId), undefined);
    publishAll(claims.settle(hostId, new Set()));
  }

  return {
    name: HOSTS_REGISTRY,
    services,
    workloads,
    hosts,
    // Groups belong to whoever wrote them down; here they are only read.
    templates: new SourceCollection(),

    async load() {
      const stored = [...(await loadHosts(store))];
      // A host that is gone yields what it had, also where its own record was not written any more.
      for (const [hostId, { holds }] of stored.toSorted(([, left], [, right]) => Number(right.goneSince !== undefined) - Number(left.goneSince !== undefined))) {
        claims.settle(hostId, new Set(holds));
      }
      for (const [hostId, { report, goneSince }] of stored) {
        // Whoever reported while the store was being read knows better.
        if (known.has(hostId)) continue;
        known.set(hostId, {
          report,
          state: goneSince === undefined ? "unknown" : "gone",
          since: goneSince ?? clock.now(),
          streams: 0,
          silentSinceMs: undefined,
          cancelTimer: () => {},
        });
      }
      isLoaded = true;
    },

    start() {
      if (unsubscribe !== undefined) return;
      unsubscribe = templates.subscribe((changes) => {
        const groups = new Set(changes.map(({ key }) => key));
        for (const [hostId, host] of known) {
          if (host.report?.workloads.some(({ group }) => groups.has(group)) === true) publish(hostId, host);
        }
      });
      for (const [hostId, host] of known) publish(hostId, host);
    },

    ready() {
      if (isReady) return;
      isReady = true;
      for (const [hostId, host] of known) schedule(hostId, host);
    },

    connected(hostId) {
      if (isClosed) return () => {};
      const host = hostOf(hostId);
      if (host.state === "unknown") returnedAtMs = listening.elapsed();
      host.streams += 1;
      if (host.streams === 1) present += 1;
      enter(hostId, host, "connected");
      if (cutOffSinceMs !== undefined) {
        // The network is back: from here on the others have their time to return.
        cutOffMs += listening.elapsed() - cutOffSinceMs;
        cutOffSinceMs = undefined;
        scheduleUnknown();
      }
      let isOpen = true;
      return () => {
        if (!isOpen) return;
        isOpen = false;
        host.streams -= 1;
        if (host.streams > 0) return;
        present -= 1;
        // A host that was removed and came back is another one: its state is not this stream's.
        if (known.get(hostId) === host && !isClosed) lose(hostId, host);
      };
    },

    report(hostId, report) {
      if (isClosed) return [];
      const host = hostOf(hostId);
      const isNews = !isDeepStrictEqual(host.report, report);
      host.report = report;
      // Heard of, though without a stream: its silence begins anew, with as much time to come back as it had.
      host.silentSinceMs = undefined;
      enter(hostId, host, host.streams > 0 ? "connected" : host.state === "unknown" ? "unknown" : "suspect");
      // A heartbeat that says nothing new costs no write.
      if (isNews) save(hostId, host);
      return hosts.get(hostId)?.refusals ?? [];
    },

    remove(hostId) {
      if (!isClosed) remove(hostId);
    },

    recheck(hostId) {
      const host = known.get(hostId);
      if (host !== undefined && !isClosed) publish(hostId, host);
    },

    status: () => ({
      name: HOSTS_REGISTRY,
      kind: "hosts",
      synced: isLoaded && unsubscribe !== undefined,
      ageMs: 0,
      ...(storeFailure === undefined ? {} : { lastError: storeFailure }),
      services: 0,
      workloads: workloads.entries().size,
      notes: [...hosts.entries().values()]
        .flatMap(({ hostId, refusals }) => refusals.map(({ workload, reason }) => `${hostId}/${workload} is not taken: ${reason}`))
        .sort(),
    }),

    async close() {
      isClosed = true;
      unsubscribe?.();
      for (const host of known.values()) host.cancelTimer();
      await listening.close();
      await writer.close();
    },
  };
}
