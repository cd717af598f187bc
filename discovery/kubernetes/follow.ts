import { backoffDelay } from "../../base/backoff.ts";
import type { BackoffPolicy } from "../../base/backoff.ts";
import type { Clock } from "../../base/clock.ts";
import { CodedError, messageOf } from "../../base/coded-error.ts";
import { pause } from "../../base/pause.ts";
import type { KubernetesClient, KubernetesKind, WatchEvent } from "./client.ts";
import { kubernetesFailure } from "./failure.ts";
import { readMetadata } from "./object.ts";
import type { Reader, Seen } from "./object.ts";
import { compareVersions } from "./resource-version.ts";

/** How a cluster is asked. Milliseconds where not said otherwise. */
export interface FollowPacing {
  /** Items of one page of a list. */
  readonly pageSize: number;
  /** The API server ends a watch after this or up to twice as long, so that those of a fleet do not end together. Seconds. */
  readonly watchSeconds: number;
  /** Without a sign of life for so long a watch is dead. */
  readonly silenceMs: number;
  /** A watch that ended is begun again no more often than this. */
  readonly resumeMs: number;
  /** After a reset of the cluster's data, how long its losses are not believed. */
  readonly resetHoldMs: number;
  /** How often it is asked whether a kind that is served nowhere is served now. */
  readonly absentMs: number;
  readonly backoff: BackoffPolicy;
}

export const FOLLOW_PACING: FollowPacing = {
  pageSize: 500,
  watchSeconds: 300,
  // Two bookmarks and a half.
  silenceMs: 150_000,
  resumeMs: 1_000,
  // Nodes are lost after 40 s without their heartbeat, and pods are written again by then.
  resetHoldMs: 120_000,
  absentMs: 30_000,
  backoff: { baseMs: 500, maxMs: 30_000 },
};

export interface FollowOptions<T> {
  readonly client: KubernetesClient;
  readonly kind: KubernetesKind;
  /** Asked before each list where the kind is served now; undefined: nowhere. Absent: at `kind`, always. */
  readonly locate?: (signal: AbortSignal) => Promise<KubernetesKind | undefined>;
  /** Called while the kind is served nowhere. That its objects are gone is believed when it lasts for `resetHoldMs`. */
  readonly onAbsent?: () => void;
  /** What tells the cluster's data from other data: another answer is another cluster, or one that lost everything. Empty while it has none. */
  readonly identify: (signal: AbortSignal) => Promise<string>;
  readonly read: Reader<T>;
  /** Objects elsewhere are none; the empty namespace is that of what has none. */
  readonly isWanted: (namespace: string) => boolean;
  readonly clock: Clock;
  readonly pacing: FollowPacing;
  /** Called with what changed; a list calls it once, with what is gone and all that is there. */
  readonly onContent: (changes: readonly ObjectChange<T>[]) => void;
  /** Called when the content is known to be the cluster's. */
  readonly onConfirmed: () => void;
  /** Called with a failure, and with undefined when it is over. */
  readonly onFailure: (failure: CodedError | undefined) => void;
}

export interface ObjectChange<T> {
  readonly key: string;
  /** Undefined: it is gone. */
  readonly seen: Seen<T> | undefined;
}

/** `disordered`: an event came that no order of things explains. */
type End = "ended" | "gone" | "disordered";

/**
 * A cluster that was away may be back with other data, restored from an older
 * state, and versions that tell nothing: it is read anew.
 */
const LOSES_TRACK: ReadonlySet<string> = new Set(["MESH_REGISTRY_UNREACHABLE", "MESH_REGISTRY_UNAVAILABLE", "MESH_REGISTRY_MALFORMED"]);

/**
 * Follows all objects of one kind until the signal aborts: a list, and a watch
 * from its version. The watch goes on from its last version when it ends; it is
 * listed anew when that version is gone, when the server is behind it (its data
 * is not what it was) or was away, and when the events contradict each other.
 * What is there stays while nothing better is known.
 * Source: kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
 */
export async function followKind<T>(options: FollowOptions<T>, signal: AbortSignal): Promise<void> {
  const { client, clock, pacing } = options;
  let { kind } = options;
  /** Versions of the objects that are there. */
  const versions = new Map<string, string>();
  /** Up to where everything is known. */
  let position: string | undefined;
  let needsList = true;
  let identity = "";
  /** The last that was one. */
  let known = "";
  let resetAt: number | undefined;
  let absentSince: number | undefined;
  let attempt = 0;

  /** Reads the whole list in pages; in one piece where the pages' state went away meanwhile. */
  async function readAll(): Promise<{ readonly version: string; readonly items: Map<string, Seen<T>> }> {
    for (let limit = pacing.pageSize; ; limit = 0) {
      const items = new Map<string, Seen<T>>();
      let page = await client.list({ kind, limit, continueToken: "", signal });
      for (; page !== undefined; page = await client.list({ kind, limit, continueToken: page.continueToken, signal })) {
        for (const object of page.items) {
          const metadata = readMetadata(object);
          if (!options.isWanted(metadata.namespace)) continue;
          const seen = options.read(object, metadata);
          items.set(seen.key, seen);
        }
        if (page.continueToken === "") return { version: page.version, items };
      }
      if (limit === 0) throw kubernetesFailure("MESH_REGISTRY_UNAVAILABLE", `kubernetes cannot finish a list of ${kind.path}`);
    }
  }

  async function relist(): Promise<void> {
    await identify();
    const place = options.locate === undefined ? kind : await options.locate(signal);
    if (place === undefined) return noteAbsence();
    kind = place;
    absentSince = undefined;
    const { version, items } = await readAll();
    if (position !== undefined && compareVersions(version, position) < 0) noteReset();
    const lost = [...versions.keys()].filter((key) => !items.has(key));
    const isDoubtful = lost.length > 0 && resetAt !== undefined && clock.elapsed() - resetAt < pacing.resetHoldMs;
    const gone = isDoubtful ? [] : lost;
    for (const key of gone) versions.delete(key);
    for (const [key, seen] of items) versions.set(key, seen.version);
    options.onContent([...gone.map((key) => ({ key, seen: undefined })), ...[...items].map(([key, seen]) => ({ key, seen }))]);
    if (isDoubtful) {
      throw kubernetesFailure("MESH_REGISTRY_SHRUNK", `the cluster's data was reset: that ${lost.length} of ${versions.size} objects of ${kind.path} are gone is not believed yet`);
    }
    position = version;
    needsList = false;
    confirm();
  }

  /** The API of a kind is taken away with all of its objects; but one that has just started may lack it for a moment. */
  function noteAbsence(): void {
    absentSince ??= clock.elapsed();
    position = undefined;
    if (clock.elapsed() - absentSince >= pacing.resetHoldMs) {
      const gone = [...versions.keys()].map((key) => ({ key, seen: undefined }));
      versions.clear();
      options.onContent(gone);
    }
    options.onAbsent?.();
    confirm();
  }

  /**
   * Asks whether it is the same cluster, and for the newest version alone. A
   * watch from one that is still to come would be silent until the cluster has
   * caught up with it.
   */
  async function probe(): Promise<void> {
    await identify();
    const page = await client.list({ kind, limit: 1, continueToken: "", signal });
    if (page === undefined || position === undefined || compareVersions(page.version, position) >= 0) return;
    noteReset();
  }

  async function identify(): Promise<void> {
    const before = identity;
    identity = await options.identify(signal);
    // A cluster that has only just begun has none at first: that it has one then is no other cluster.
    if (identity === "" ? before !== "" : known !== "" && known !== identity) noteReset();
    if (identity !== "") known = identity;
  }

  function noteReset(): void {
    resetAt = clock.elapsed();
    needsList = true;
    // Versions of before mean nothing now, also not that something is older.
    position = undefined;
  }

  function confirm(): void {
    options.onFailure(undefined);
    options.onConfirmed();
  }

  async function watch(version: string): Promise<End> {
    const disorder = new AbortController();
    const openedAt = clock.elapsed();
    let hasNews = false;
    let end: End | undefined;
    try {
      end = await client.watch({
        kind,
        version,
        timeoutSeconds: Math.round(pacing.watchSeconds * (1 + Math.random())),
        silenceMs: pacing.silenceMs,
        onOpen: confirm,
        onEvent(event) {
          if (disorder.signal.aborted) return;
          if (take(event)) hasNews = true;
          else disorder.abort();
        },
        signal: AbortSignal.any([signal, disorder.signal]),
      });
    } catch (failure) {
      if (!disorder.signal.aborted) throw failure;
    } finally {
      const livedMs = clock.elapsed() - openedAt;
      if (livedMs >= pacing.backoff.maxMs || (end === "ended" && (hasNews || livedMs >= pacing.resumeMs))) attempt = 0;
    }
    if (disorder.signal.aborted || end === undefined) end = "disordered";
    if (end !== "ended") needsList = true;
    return end;
  }

  /** @returns false for an event that contradicts what is known */
  function take({ type, object }: WatchEvent): boolean {
    const metadata = readMetadata(type === "BOOKMARK" ? bookmarkOf(object) : object);
    const { namespace, resourceVersion } = metadata;
    const isNews = position === undefined || compareVersions(resourceVersion, position) > 0;
    if (type === "BOOKMARK" || !options.isWanted(namespace)) {
      if (isNews) position = resourceVersion;
      options.onConfirmed();
      return true;
    }
    const seen = options.read(object, metadata);
    const held = versions.get(seen.key);
    if (!isNews) {
      // Said twice: what is there is the same, or newer, or gone.
      return held === undefined ? type === "DELETED" : compareVersions(held, resourceVersion) >= 0;
    }
    position = resourceVersion;
    if (type === "DELETED") versions.delete(seen.key);
    else versions.set(seen.key, resourceVersion);
    if (type !== "DELETED" || held !== undefined) options.onContent([{ key: seen.key, seen: type === "DELETED" ? undefined : seen }]);
    options.onConfirmed();
    return true;
  }

  async function round(): Promise<number> {
    if (!needsList) await probe();
    if (needsList) await relist();
    if (position === undefined) return pacing.absentMs;
    const startedAt = clock.elapsed();
    const end = await watch(position);
    const restMs = Math.max(0, pacing.resumeMs - (clock.elapsed() - startedAt));
    if (end === "ended") return restMs;
    // A list is dear to the cluster: one that did not help is not repeated at once.
    return backoffDelay(pacing.backoff, attempt++);
  }

  while (!signal.aborted) {
    let delayMs: number;
    try {
      delayMs = await round();
    } catch (thrown) {
      if (signal.aborted) return;
      // One registry's bug must not take the others with it: it shows in the status, and the last good content stays.
      const failure = thrown instanceof CodedError ? thrown : kubernetesFailure("MESH_REGISTRY_MALFORMED", messageOf(thrown), thrown);
      const isUnlocated = options.locate !== undefined && failure.facts["status"] === 404;
      if (isUnlocated || LOSES_TRACK.has(failure.code)) needsList = true;
      // That it is served elsewhere, or nowhere, is no failure.
      if (!isUnlocated) {
        // What was not asked meanwhile did not last: a server that comes back may lack a kind for a moment again.
        absentSince = undefined;
        options.onFailure(failure);
      }
      delayMs = Math.max(backoffDelay(pacing.backoff, attempt++), Number(failure.facts["retryAfterMs"] ?? 0));
    }
    if (delayMs > 0) await pause(clock, delayMs, signal);
  }
}

/** A bookmark is an object that has nothing but a version. */
function bookmarkOf(object: unknown): unknown {
  const { metadata } = (object ?? {}) as { readonly metadata?: object };
  return { metadata: { ...metadata, name: "bookmark" } };
}
