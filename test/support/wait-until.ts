import { setTimeout as sleep } from "node:timers/promises";

/** What a wait is for, and how long it may take on a slow machine. */
export interface WaitOptions {
  /** Names the condition in the failure. */
  readonly what: string;
  readonly timeoutMs?: number;
  readonly intervalMs?: number;
}

/**
 * Polls until `condition` gives something truthy, and returns that. A condition
 * that throws counts as "not yet"; its last error is the cause of the failure.
 */
export async function waitUntil<T>(condition: () => T | Promise<T>, options: WaitOptions): Promise<T> {
  const { what, timeoutMs = 60_000, intervalMs = 50 } = options;
  const deadline = Date.now() + timeoutMs;
  let cause: unknown;
  while (Date.now() < deadline) {
    try {
      const value = await condition();
      if (value) return value;
    } catch (error) {
      cause = error;
    }
    await sleep(intervalMs);
  }
  // Said in the message too: not every reporter shows causes.
  throw new Error(`waited ${timeoutMs} ms in vain for ${what}${cause instanceof Error ? `: ${cause.message}` : ""}`, { cause });
}
