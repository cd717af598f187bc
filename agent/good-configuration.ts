import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/coded-error.ts";
import type { Logger } from "../base/logger.ts";
import type { Closable } from "../base/task-group.ts";
import type { SubscriptionStatus } from "../xds/subscription.ts";
import type { LastKnownGood } from "./last-known-good.ts";
import type { StandIns } from "./stand-ins.ts";

export interface GoodConfigurationOptions {
  readonly lastKnownGood: LastKnownGood;
  /** True where nothing is on disk: then anything is better than nothing, and saved at once. */
  readonly isFirst: boolean;
  /** What Envoy is told, and what it took. */
  readonly standIns: Pick<StandIns, "inForce" | "accepted" | "settled">;
  /** How far Envoy is with each type that it asked for. */
  readonly envoy: () => readonly SubscriptionStatus[];
  /** Envoy serves, and has answered to all of it. */
  readonly isSettled: () => boolean;
  /** It is the control plane's, and this host's. */
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
 * where it is large, and nothing while nothing changes. What Envoy refuses does
 * not keep the rest from being saved: of that the version is kept that Envoy took last.
 */
export function keepGoodConfiguration(options: GoodConfigurationOptions): Closable {
  const { lastKnownGood, standIns, envoy, isSettled, isWorthKeeping, clock, logger } = options;
  let acceptedStamp = "";
  let savedStamp = "";
  let goodSince: { readonly stamp: string; readonly atMs: number } | undefined;
  let savedAtMs = options.isFirst ? Number.NEGATIVE_INFINITY : clock.elapsed() - LONGEST_PAUSE_MS;
  let pauseMs = LEAST_PAUSE_MS;
  let saving: Promise<void> | undefined;
  let cancel: (() => void) | undefined;

  const stampNow = (): string => [standIns.inForce.revision(), ...envoy().flatMap(({ typeUrl, rejected }) => rejected.map(({ name, version }) => `${typeUrl} ${name} ${version}`))].join("\n");
  /** @returns what stands for the accepted state; undefined while Envoy is still being told */
  const takeAccepted = (): string | undefined => {
    if (!isSettled()) return undefined;
    const stamp = stampNow();
    if (stamp !== acceptedStamp) {
      standIns.settled(envoy());
      acceptedStamp = stamp;
    }
    return stamp;
  };
  const look = (): void => {
    cancel = clock.after(LOOK_EVERY_MS, look);
    const now = clock.elapsed();
    const stamp = takeAccepted();
    if (stamp === undefined || stamp === savedStamp || !isWorthKeeping()) {
      goodSince = undefined;
      return;
    }
    if (goodSince?.stamp !== stamp) goodSince = { stamp, atMs: now };
    if (saving !== undefined || now - savedAtMs < pauseMs) return;
    // A mesh that changes all the time is saved all the same: Envoy has the newest state at this moment.
    if (now - goodSince.atMs < SETTLED_MS && now - savedAtMs < 3 * LONGEST_PAUSE_MS) return;
    savedAtMs = now;
    const accepted = standIns.accepted();
    const bytes = accepted.values().reduce((sum, resource) => sum + resource.bytes.length, 0);
    pauseMs = Math.min(LONGEST_PAUSE_MS, Math.max(LEAST_PAUSE_MS, bytes / WRITTEN_BYTES_PER_MS));
    saving = lastKnownGood.save(accepted.values(), clock.now()).then(
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
      if (goodSince?.stamp === stamp && clock.elapsed() - goodSince.atMs >= SETTLED_MS) await lastKnownGood.save(standIns.accepted().values(), clock.now());
    },
  };
}
