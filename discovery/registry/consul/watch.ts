import { backoffDelay } from "../../../base/backoff.ts";
import type { BackoffPolicy } from "../../../base/backoff.ts";
import type { Clock } from "../../../base/clock.ts";
import { CodedError, messageOf } from "../../../base/coded-error.ts";
import { pause } from "../../../base/pause.ts";
import type { SecretBytes } from "../../../base/secret-bytes.ts";
import type { RegistryActivity } from "../activity.ts";
import { judgeAnswer } from "./believable.ts";
import type { Observation } from "./believable.ts";
import type { ConsulAnswer, ConsulQuery } from "./client.ts";
import { consulFailure } from "./failure.ts";
import type { Pulse } from "./pulse.ts";
import type { Turn } from "./schedule.ts";
import { TokenBucket } from "./token-bucket.ts";

/** How one question is paced. Milliseconds. */
export interface WatchPacing {
  /** A busy watch is asked twice at once, then no more often than this. */
  readonly intervalMs: number;
  /** After a reset of Consul's data, how long its losses are not believed. */
  readonly resetHoldMs: number;
  readonly backoff: BackoffPolicy;
}

export interface WatchOptions<T> {
  readonly ask: (query: ConsulQuery) => Promise<ConsulAnswer<T>>;
  /** What a body names: what is missing from the next one is lost. */
  readonly membersOf: (body: T) => Iterable<string>;
  readonly datacenter: string | undefined;
  /** Read for every question, so that a rotated token counts at once. */
  readonly token: () => Promise<SecretBytes | undefined>;
  /** When to ask; `isFirst`: there is nothing to wait for. Rejects when the signal aborts. */
  readonly turn: (isFirst: boolean, signal: AbortSignal) => Promise<Turn>;
  readonly clock: Clock;
  readonly pacing: Omit<WatchPacing, "intervalMs"> & { readonly intervalMs: number | (() => number) };
  /** Of the Consul as a whole; absent for the watch that tells it. */
  readonly pulse?: Pulse;
  readonly activity: RegistryActivity;
  /** What the question's answer had before the start, which nobody confirmed since; absent without one. */
  readonly recalled?: ReadonlySet<string> | undefined;
  /** Called with every answer that is believed; undefined: that of before still holds. Gives whether the registry's content changed. */
  readonly onContent: (body: T | undefined, seen: Observation) => boolean;
  /** Called with a failure, and with undefined when it is over. */
  readonly onFailure: (failure: CodedError | undefined) => void;
  /** Consul's data may have begun anew. */
  readonly onReset?: () => void;
}

/** Failures that somebody has to do something about: asking again soon is of no use. */
const STANDING_ATTEMPT = 30;

/**
 * Follows one question to Consul until the signal aborts. The rules of
 * blocking queries: the index starts at 0, goes back to 0 when it decreases and
 * after every failure, and an answer is no promise of a change.
 * Source: developer.hashicorp.com/consul/api-docs/features/blocking
 */
export async function followQuery<T>(options: WatchOptions<T>, signal: AbortSignal): Promise<void> {
  const { clock, pacing, activity, pulse } = options;
  const bucket = new TokenBucket(clock, 2, pacing.intervalMs);
  const { recalled } = options;
  let lastGood: Pick<Observation, "members" | "isFiltered"> | undefined = recalled === undefined ? undefined : { members: recalled, isFiltered: true };
  let isRecalled = recalled !== undefined;
  let index = 0n;
  let highestIndex = 0n;
  /** Of the data as it is now, also after a reset: a server that tells less lags. */
  let knownIndex = 0n;
  /** Ends the time in which losses are not believed. A timer, which no setting of the clock touches. */
  let endReset: (() => void) | undefined;
  let isResetCertain = false;
  let attempt = 0;

  async function question(mode: ConsulQuery["mode"], from: bigint, turn: Turn): Promise<{ answer: ConsulAnswer<T>; seen: Observation }> {
    const token = await options.token();
    const answer = await options.ask({
      datacenter: options.datacenter,
      token,
      index: from,
      wasFiltered: lastGood?.isFiltered === true,
      waitMs: from === 0n ? 0 : turn.waitMs,
      mode,
      signal: AbortSignal.any([signal, turn.signal]),
    });
    const members = answer.body === undefined ? (lastGood?.members ?? new Set()) : new Set(options.membersOf(answer.body));
    // No index tells of what is recalled.
    const isBehindRecalled = isRecalled && (!answer.isLeaderKnown || [...(recalled ?? [])].some((member) => !members.has(member)));
    const isBehind = mode === "stale" && (answer.index < knownIndex || isBehindRecalled);
    judgeIndex(answer.index, mode);
    const seen: Observation = {
      members,
      isLeaderKnown: answer.isLeaderKnown,
      isFiltered: answer.isFiltered,
      isAnonymousUnderDeny: token === undefined && answer.defaultPolicy === "deny",
      isBehind,
      isReset: endReset !== undefined,
      isConfirmed: mode === "consistent",
    };
    return { answer, seen };
  }

  /** A lower index is one of data that began anew, or of a server that lags behind: where the leader's is not lower, it was the latter. */
  function judgeIndex(next: bigint, mode: ConsulQuery["mode"]): void {
    if (mode === "consistent" || next > knownIndex) knownIndex = next;
    if (next < highestIndex) {
      if (mode === "consistent") isResetCertain = true;
      if (endReset === undefined) options.onReset?.();
      endReset ??= clock.after(pacing.resetHoldMs, () => {
        endReset = undefined;
        isResetCertain = false;
        highestIndex = 0n;
      });
      return;
    }
    highestIndex = next;
    if (mode === "consistent" && !isResetCertain) clearReset();
  }

  function clearReset(): void {
    endReset?.();
    endReset = undefined;
  }

  async function round(turn: Turn): Promise<void> {
    let { answer, seen } = await question("stale", index, turn);
    let verdict = judgeAnswer(lastGood, seen);
    if (verdict.kind === "confirm") {
      ({ answer, seen } = await question("consistent", 0n, turn));
      verdict = judgeAnswer(lastGood, seen);
    }
    if (verdict.kind !== "take") {
      const { code, message } = verdict.kind === "keep" ? verdict : { code: "MESH_REGISTRY_SHRUNK" as const, message: "no leader confirms the loss" };
      throw consulFailure(code, message);
    }
    // An answer that came back early with a lower index is one of a reset server: ask from the beginning.
    index = answer.index < index ? 0n : answer.index;
    lastGood = seen;
    isRecalled = false;
    attempt = 0;
    options.onFailure(undefined);
    activity.answered(clock.now());
    activity.woke(options.onContent(answer.body, seen));
  }

  /** Gives how long to wait before the next one. */
  async function oneRound(): Promise<number> {
    const turn = await options.turn(index === 0n, signal);
    try {
      await round(turn);
      return bucket.take();
    } catch (thrown) {
      index = 0n;
      if (signal.aborted || turn.signal.aborted) return 0;
      // One registry's bug must not take the others with it: it shows in the status, and the last good content stays.
      const failure = thrown instanceof CodedError ? thrown : consulFailure("MESH_REGISTRY_MALFORMED", messageOf(thrown), thrown);
      activity.failed(failure);
      options.onFailure(failure);
      const isStanding = failure.code === "MESH_REGISTRY_MISCONFIGURED" || pulse?.recovery !== undefined;
      return backoffDelay(pacing.backoff, isStanding ? STANDING_ATTEMPT : attempt++);
    } finally {
      turn.release();
    }
  }

  try {
    while (!signal.aborted) {
      const delayMs = await oneRound();
      const recovery = pulse?.recovery;
      if (delayMs > 0) await pause(clock, delayMs, recovery === undefined ? signal : AbortSignal.any([signal, recovery]));
    }
  } catch (thrown) {
    // Whose turn does not come any more.
    if (!signal.aborted) throw thrown;
  } finally {
    clearReset();
  }
}
