import type { Clock } from "../../base/clock.ts";
import { messageOf } from "../../base/coded-error.ts";
import type { Logger } from "../../base/logger.ts";
import type { Closable } from "../../base/task-group.ts";
import { formatHostPort } from "../../model/address.ts";
import { workloadName } from "../config.ts";
import type { WorkloadBinding, WorkloadConfig } from "../config.ts";
import { placeKey } from "./inbound-places.ts";
import type { InboundPlace } from "./inbound-places.ts";
import type { Owner } from "./judge-owner.ts";
import { receiversOf } from "./listening-sockets.ts";
import type { ListeningSocket } from "./listening-sockets.ts";

export interface InboundOwnershipOptions {
  readonly workloads: readonly WorkloadConfig[];
  /** What Envoy would hand on now. */
  readonly places: () => readonly InboundPlace[];
  readonly readSockets: () => Promise<readonly ListeningSocket[]>;
  /** Cheap, and changes nearly always where the sockets do. */
  readonly readCounts: () => Promise<string>;
  readonly lookUpOwner: (socket: ListeningSocket, bind: WorkloadBinding) => Promise<Owner>;
  /** Other places are withheld, or for another reason. */
  readonly onChange: () => void;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Watches who listens where workloads are served. */
export interface InboundOwnership extends Closable {
  /** Looks now; resolves when that is done, or takes too long to be waited for. */
  look(): Promise<void>;
  /** Places that must not be served: somebody else than the workload takes what comes there. */
  withheld(): readonly InboundPlace[];
  /** Why a workload is withheld, for people; undefined where it is not. */
  mismatchOf(workload: string): string | undefined;
  /** What could not be found out, and so changed nothing; a line each. */
  undetermined(): readonly string[];
}

/** For so long may a stranger take what comes to a port, as a rule, and Envoy's answer comes on top. */
const LOOK_EVERY_MS = 1_000;
/** Where the counts say that nothing changed, which a socket that came as another one went does not show. */
const LOOK_ANYWAY_MS = 5_000;
/** The owner of a socket never changes, but what is bound, and a daemon's user, may. */
const ASK_AGAIN_MS = 5_000;
/** A daemon that opens its port as root has become its user by then. */
const GROWN_UP_MS = 10_000;
const PATIENCE_MS = 3_000;

interface Verdict {
  readonly owner: Owner;
  readonly sinceMs: number;
  readonly askAgainMs: number;
}

/**
 * A place is withheld from the moment on at which a stranger is seen to listen
 * there, until the workload is: meanwhile nobody may listen at all. Nobody at a
 * place that is served is no mismatch, and what cannot be found out changes nothing.
 */
export function watchInboundOwnership(options: InboundOwnershipOptions): InboundOwnership {
  const { places, readSockets, onChange, clock, logger } = options;
  const bindings = new Map(options.workloads.flatMap((entry) => (entry.bind.ports === undefined ? [[workloadName(entry), entry.bind] as const] : [])));
  let verdicts = new Map<string, Verdict>();
  let withheld = new Map<string, { readonly place: InboundPlace; readonly who: string }>();
  let undetermined: readonly string[] = [];
  let last: { readonly counts: string | undefined; readonly places: readonly InboundPlace[]; readonly lookedAtMs: number } | undefined;
  let running: Promise<void> | undefined;
  let isClosed = false;
  let cancel = (): void => undefined;

  const ask = async (socket: ListeningSocket, workload: string, bind: WorkloadBinding): Promise<Verdict> => {
    const known = verdicts.get(verdictKey(workload, socket));
    const now = clock.elapsed();
    if (known !== undefined && now < known.askAgainMs) return known;
    const owner = await options.lookUpOwner(socket, bind).catch((failure: unknown): Owner => ({ kind: "unknown", why: messageOf(failure) }));
    const askAgainMs = owner.kind === "own" ? Number.POSITIVE_INFINITY : owner.kind === "stranger" && owner.isYoung === true ? now : now + ASK_AGAIN_MS;
    return { owner, sinceMs: known?.sinceMs ?? now, askAgainMs };
  };
  /** Notes what there is before the sockets are read: what changes meanwhile is seen the next time. */
  const isQuiet = async (): Promise<boolean> => {
    const counts = await options.readCounts().catch(() => undefined);
    const [before, now, nowMs] = [last, places(), clock.elapsed()];
    const isSame = counts !== undefined && before?.counts === counts && before.places === now && nowMs - before.lookedAtMs < LOOK_ANYWAY_MS;
    if (isSame && withheld.size === 0 && undetermined.length === 0) return true;
    last = { counts, places: now, lookedAtMs: nowMs };
    return false;
  };
  const step = async (isAsked: boolean): Promise<void> => {
    if ((await isQuiet()) && !isAsked) return;
    const watched = places().flatMap((place) => {
      const bind = bindings.get(place.workload);
      return bind === undefined ? [] : [{ place, bind }];
    });
    let sockets = watched.length === 0 ? [] : await readSockets();
    const next = new Map<string, Verdict>();
    for (const { place, bind } of watched) {
      for (const socket of receiversOf(place, sockets)) {
        const key = verdictKey(place.workload, socket);
        if (!next.has(key)) next.set(key, await ask(socket, place.workload, bind));
      }
    }
    // What ended while we asked is not what we think.
    if ([...next].some(([key, { owner }]) => owner.kind !== "own" && verdicts.get(key)?.owner.kind !== owner.kind)) {
      const inodes = new Set((await readSockets()).map(({ inode }) => inode));
      sockets = sockets.filter(({ inode }) => inodes.has(inode));
    }
    verdicts = next;
    settle(watched.map(({ place }) => place), sockets);
  };
  const settle = (watched: readonly InboundPlace[], sockets: readonly ListeningSocket[]): void => {
    const next = new Map<string, { readonly place: InboundPlace; readonly who: string }>();
    const doubts = new Set<string>();
    for (const place of watched) {
      const key = placeKey(place);
      const owners = receiversOf(place, sockets).map((socket) => ageOf(verdicts.get(verdictKey(place.workload, socket)), clock.elapsed()));
      const stranger = owners.find((owner) => owner.kind === "stranger");
      const before = withheld.get(key);
      for (const owner of owners) if (owner.kind === "unknown") doubts.add(`whose port ${place.port} of ${place.workload} is: ${owner.why}`);
      if (stranger !== undefined) next.set(key, { place, who: stranger.who });
      // The next to come may be the stranger again: only the workload opens it.
      else if (before !== undefined && (owners.length === 0 || owners.some(({ kind }) => kind === "unknown"))) next.set(key, before);
    }
    enter(next, [...doubts]);
  };
  const enter = (next: typeof withheld, doubts: readonly string[]): void => {
    for (const doubt of doubts) if (!undetermined.includes(doubt)) logger.warn({ reason: doubt }, "it cannot be found out who listens on a workload's port; nothing is changed because of that");
    undetermined = doubts;
    const isNews = describe(next) !== describe(withheld);
    for (const [key, { place, who }] of next) if (!withheld.has(key)) logger.error({ ...place, listener: who }, "another process than the workload listens on its port; connections to it are refused until the workload does");
    for (const [key, { place }] of withheld) if (!next.has(key)) logger.info({ ...place }, "connections to the workload's port are served again");
    withheld = next;
    if (isNews) onChange();
  };
  const look = (isAsked: boolean): Promise<void> => {
    cancel();
    running ??= step(isAsked)
      .catch((failure: unknown) => enter(withheld, [`who listens on this host: ${messageOf(failure)}`]))
      .finally(() => {
        running = undefined;
        if (!isClosed) cancel = clock.after(LOOK_EVERY_MS, () => void look(false));
      });
    return running;
  };
  return {
    async look() {
      const patience = Promise.withResolvers<void>();
      const stop = clock.after(PATIENCE_MS, patience.resolve);
      // One that runs already may have begun with less than there is now.
      await Promise.race([(running ?? Promise.resolve()).then(() => look(true)), patience.promise]);
      stop();
    },
    withheld: () => [...withheld.values()].map(({ place }) => place),
    mismatchOf(workload) {
      const of = [...withheld.values()].filter(({ place }) => place.workload === workload);
      return of.length === 0 ? undefined : reasonOf(of);
    },
    undetermined: () => undetermined,
    async close() {
      isClosed = true;
      cancel();
      await running;
    },
  };
}

function verdictKey(workload: string, { inode }: ListeningSocket): string {
  return `${workload} ${inode}`;
}

/** What may still become the workload's changes nothing for a while. */
function ageOf(verdict: Verdict | undefined, nowMs: number): Owner {
  if (verdict === undefined) return { kind: "unknown", why: "it was not looked at yet" };
  const { owner, sinceMs } = verdict;
  if (owner.kind !== "stranger" || owner.isYoung !== true || nowMs - sinceMs >= GROWN_UP_MS) return owner;
  return { kind: "unknown", why: `it was opened by ${owner.who}, who may be starting it` };
}

function describe(withheld: ReadonlyMap<string, { readonly who: string }>): string {
  return JSON.stringify([...withheld].map(([key, { who }]) => [key, who]));
}

function reasonOf(withheld: readonly { readonly place: InboundPlace; readonly who: string }[]): string {
  const byWho = Map.groupBy(withheld, ({ who }) => who);
  return [...byWho]
    .map(([who, entries]) => `${who} listens instead of the workload, on ${entries.map(({ place: { address, port } }) => (address === "" ? `port ${port}` : formatHostPort(address, port))).join(", ")}`)
    .join("; ");
}
