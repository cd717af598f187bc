import { backoffDelay } from "../../../base/backoff.ts";
import type { BackoffPolicy } from "../../../base/backoff.ts";
import type { Clock } from "../../../base/clock.ts";
import { CodedError, messageOf } from "../../../base/coded-error.ts";
import { pause } from "../../../base/pause.ts";
import type { SecretBytes } from "../../../base/secret-bytes.ts";
import { judgeAnswer } from "./believable.ts";
import type { Observation } from "./believable.ts";
import type { ConsulAnswer, ConsulQuery } from "./client.ts";
import { consulFailure } from "./failure.ts";
import type { Slots } from "./slots.ts";
import { TokenBucket } from "./token-bucket.ts";

/** How questions are paced. Milliseconds. */
export interface WatchPacing {
  /** How long Consul may hold a question when nothing changes. */
  readonly waitMs: number;
  /** The same while other watches wait for a connection. */
  readonly contendedWaitMs: number;
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
  readonly slots: Slots;
  readonly clock: Clock;
  readonly pacing: WatchPacing;
  /** Called with every answer that is believed, also one that changes nothing. */
  readonly onContent: (body: T) => void;
  /** Called with a failure, and with undefined when it is over. */
  readonly onFailure: (failure: CodedError | undefined) => void;
}

/**
 * Follows one blocking query of Consul until the signal aborts. The rules of
 * blocking queries: the index starts at 0, goes back to 0 when it decreases and
 * after every failure, and an answer is no promise of a change.
 * Source: developer.hashicorp.com/consul/api-docs/features/blocking
 */
export async function followQuery<T>(options: WatchOptions<T>, signal: AbortSignal): Promise<void> {
  const { clock, pacing, slots } = options;
  const bucket = new TokenBucket(clock, 2, pacing.intervalMs);
  let lastGood: Observation | undefined;
  let index = 0n;
  let highestIndex = 0n;
  let resetAt: number | undefined;
  let attempt = 0;

  async function question(mode: ConsulQuery["mode"], from: bigint): Promise<{ answer: ConsulAnswer<T>; seen: Observation }> {
    const token = await options.token();
    const waitMs = slots.isContended ? pacing.contendedWaitMs : pacing.waitMs;
    const answer = await options.ask({ datacenter: options.datacenter, token, index: from, waitMs: from === 0n ? 0 : waitMs, mode, signal });
    if (answer.index < highestIndex) resetAt = clock.now();
    highestIndex = answer.index;
    const isReset = resetAt !== undefined && clock.now() - resetAt < pacing.resetHoldMs;
    const seen: Observation = {
      members: new Set(options.membersOf(answer.body)),
      isLeaderKnown: answer.isLeaderKnown,
      isFiltered: answer.isFiltered,
      isAnonymousUnderDeny: token === undefined && answer.defaultPolicy === "deny",
      isReset,
      isConfirmed: mode === "consistent",
    };
    return { answer, seen };
  }

  async function round(): Promise<void> {
    const release = await slots.take();
    try {
      if (signal.aborted) return;
      let { answer, seen } = await question("stale", index);
      let verdict = judgeAnswer(lastGood, seen);
      if (verdict.kind === "confirm") {
        ({ answer, seen } = await question("consistent", 0n));
        verdict = judgeAnswer(lastGood, seen);
      }
      if (verdict.kind !== "take") {
        const { code, message } = verdict.kind === "keep" ? verdict : { code: "MESH_REGISTRY_SHRUNK" as const, message: "no leader confirms the loss" };
        throw consulFailure(code, message);
      }
      // An answer that came back early with a lower index is one of a reset server: ask from the beginning.
      index = answer.index < index ? 0n : answer.index;
      lastGood = seen;
      attempt = 0;
      options.onFailure(undefined);
      options.onContent(answer.body);
    } finally {
      release();
    }
  }

  while (!signal.aborted) {
    let delayMs = 0;
    try {
      await round();
      delayMs = bucket.take();
    } catch (thrown) {
      if (signal.aborted) return;
      index = 0n;
      // One registry's bug must not take the others with it: it shows in the status, and the last good content stays.
      const failure = thrown instanceof CodedError ? thrown : consulFailure("MESH_REGISTRY_MALFORMED", messageOf(thrown), thrown);
      options.onFailure(failure);
      delayMs = backoffDelay(pacing.backoff, attempt);
      attempt += 1;
    }
    if (delayMs > 0) await pause(clock, delayMs, signal);
  }
}
