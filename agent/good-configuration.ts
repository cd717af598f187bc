import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/coded-error.ts";
import type { Logger } from "../base/logger.ts";
import type { Closable } from "../base/task-group.ts";
import type { Resource } from "../xds/resource.ts";
import type { ResourceSet } from "../xds/resource-set.ts";
import type { SubscriptionStatus } from "../xds/subscription.ts";
import type { LastKnownGood } from "./last-known-good.ts";

export interface GoodConfigurationOptions {
  readonly lastKnownGood: LastKnownGood;
  /** What is on disk. */
  readonly stored: readonly Resource[];
  /** What Envoy is told. */
  readonly resources: ResourceSet;
  readonly types: readonly string[];
  /** How far Envoy is with each type that it asked for. */
  readonly envoy: () => readonly SubscriptionStatus[];
  /** Envoy has answered to all of it. */
  readonly isSettled: () => boolean;
  /** It is the control plane's, it is this host's, and Envoy serves. */
  readonly isWorthKeeping: () => boolean;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Envoy must have served this long with a configuration before it counts as good. */
const SETTLED_MS = 2_000;
/** A small configuration is on disk soon, so that a new agent knows what the last one knew; a large one is not written all the time. */
const LEAST_PAUSE_MS = 2_000;
const LONGEST_PAUSE_MS = 10_000;
const WRITTEN_BYTES_PER_MS = 100;
const LOOK_EVERY_MS = 500;

/**
 * Saves what has been good for a while; at most once in two seconds, or ten
 * where it is large, and nothing while nothing changes. What Envoy refuses does not keep the rest from
 * being saved: of that the version is kept that Envoy took last.
 */
export function keepGoodConfiguration(options: GoodConfigurationOptions): Closable {
  const { lastKnownGood, resources, types, envoy, isSettled, isWorthKeeping, clock, logger } = options;
  let accepted: ReadonlyMap<string, Resource> = new Map(options.stored.map((resource) => [keyOf(resource), resource]));
  let acceptedStamp = "";
  let savedStamp = "";
  let goodSince: { readonly stamp: string; readonly atMs: number } | undefined;
  let savedAtMs = Number.NEGATIVE_INFINITY;
  let pauseMs = LEAST_PAUSE_MS;
  let saving: Promise<void> | undefined;
  let cancel: (() => void) | undefined;

  const stampNow = (): string => [resources.revision(), ...envoy().flatMap(({ typeUrl, rejected }) => rejected.map((one) => keyOf({ typeUrl, name: one.name }) + one.version))].join("\n");
  /** @returns what stands for the accepted state; undefined while Envoy is still being told */
  const takeAccepted = (): string | undefined => {
    if (!isSettled()) return undefined;
    const stamp = stampNow();
    if (stamp !== acceptedStamp) {
      accepted = acceptedResources(types.flatMap((type) => [...resources.list(type)]), accepted, envoy());
      acceptedStamp = stamp;
    }
    return stamp;
  };
  const look = (): void => {
    cancel = clock.after(LOOK_EVERY_MS, look);
    const now = clock.now();
    const stamp = takeAccepted();
    if (stamp === undefined || stamp === savedStamp || !isWorthKeeping()) {
      goodSince = undefined;
      return;
    }
    if (goodSince?.stamp !== stamp) goodSince = { stamp, atMs: now };
    if (saving !== undefined || Math.abs(now - savedAtMs) < pauseMs) return;
    // A mesh that changes all the time is saved all the same: Envoy has the newest state at this moment.
    if (now - goodSince.atMs < SETTLED_MS && Math.abs(now - savedAtMs) < 3 * LONGEST_PAUSE_MS) return;
    savedAtMs = now;
    const bytes = accepted.values().reduce((sum, resource) => sum + resource.bytes.length, 0);
    pauseMs = Math.min(LONGEST_PAUSE_MS, Math.max(LEAST_PAUSE_MS, bytes / WRITTEN_BYTES_PER_MS));
    saving = lastKnownGood.save(accepted.values(), now).then(
      () => {
        savedStamp = stamp;
        saving = undefined;
      },
      (failure: unknown) => {
        saving = undefined;
        logger.error({ reason: messageOf(failure) }, "the last known good configuration cannot be saved: a reboot would come up with an older one");
      },
    );
  };
  look();
  return {
    async close() {
      cancel?.();
      await saving;
      // A host that is shut down comes up with what it had, however recent that is.
      const stamp = takeAccepted();
      if (stamp === undefined || stamp === savedStamp || !isWorthKeeping()) return;
      if (goodSince?.stamp === stamp && clock.now() - goodSince.atMs >= SETTLED_MS) await lastKnownGood.save(accepted.values(), clock.now());
    },
  };
}

/**
 * What Envoy has of `current`, by type and name. In the place of what it refused stands what it took before, or
 * nothing; and what is gone but held back from removal, because something that was refused may refer to it, is there
 * still.
 */
export function acceptedResources(current: readonly Resource[], before: ReadonlyMap<string, Resource>, envoy: readonly SubscriptionStatus[]): ReadonlyMap<string, Resource> {
  const accepted = new Map(current.map((resource) => [keyOf(resource), resource]));
  for (const { typeUrl, rejected, pending } of envoy) {
    for (const { name, version } of rejected) {
      const key = keyOf({ typeUrl, name });
      if (accepted.get(key)?.version !== version) continue;
      const earlier = before.get(key);
      if (earlier === undefined) accepted.delete(key);
      else accepted.set(key, earlier);
    }
    if (pending === 0) continue;
    for (const [key, resource] of before) if (resource.typeUrl === typeUrl && !accepted.has(key)) accepted.set(key, resource);
  }
  return accepted;
}

function keyOf({ typeUrl, name }: Pick<Resource, "typeUrl" | "name">): string {
  return `${typeUrl}\n${name}`;
}
