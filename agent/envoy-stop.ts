import { setTimeout as sleep } from "node:timers/promises";

import { messageOf } from "../base/coded-error.ts";
import type { Logger } from "../base/logger.ts";
import type { EnvoyAdmin } from "./admin.ts";
import { isRunning } from "./running-envoy.ts";
import type { RunningEnvoy } from "./running-envoy.ts";

export interface StopOptions {
  /** How long open connections may go on. */
  readonly drainMs: number;
  readonly logger: Logger;
}

const LOOK_EVERY_MS = 100;
/** After SIGTERM; Envoy's own shutdown takes well under a second. */
const TERM_MS = 5_000;

/** Ends an Envoy without cutting what it serves: drains, waits for the last connection or the deadline, then SIGTERM, then SIGKILL. */
export async function stopEnvoy(envoy: Pick<RunningEnvoy, "pid" | "startedAt">, admin: EnvoyAdmin, options: StopOptions): Promise<void> {
  const { drainMs, logger } = options;
  const deadline = performance.now() + drainMs;
  try {
    if (drainMs > 0) await admin.drain();
    while (performance.now() < deadline && (await isRunning(envoy))) {
      if ((await openConnections(admin)) === 0) break;
      await sleep(LOOK_EVERY_MS);
    }
  } catch (failure) {
    logger.warn({ reason: messageOf(failure) }, "envoy could not be drained");
  }
  if (await signalUntilGone(envoy, "SIGTERM", TERM_MS)) return;
  logger.warn({ pid: envoy.pid }, "envoy did not end on SIGTERM and is killed");
  await signalUntilGone(envoy, "SIGKILL", TERM_MS);
}

/** Connections from clients on every listener but the admin's. */
export async function openConnections(admin: EnvoyAdmin): Promise<number> {
  const text = await admin.get(`/stats?filter=${encodeURIComponent(String.raw`^listener\.[^w].*downstream_cx_active$`)}`);
  let total = 0;
  for (const line of text.split("\n")) {
    const match = /^listener\.(.*)downstream_cx_active: (\d+)$/.exec(line.trim());
    if (match === null || match[1] === "admin." || /(^|\.)(worker_\d+|main_thread)\.$/.test(match[1] ?? "")) continue;
    total += Number(match[2]);
  }
  return total;
}

async function signalUntilGone(envoy: Pick<RunningEnvoy, "pid" | "startedAt">, signal: NodeJS.Signals, timeoutMs: number): Promise<boolean> {
  const deadline = performance.now() + timeoutMs;
  // The start time was looked at a moment ago: the number cannot belong to another process by now.
  if (!(await isRunning(envoy))) return true;
  try {
    process.kill(envoy.pid, signal);
  } catch {
    return !(await isRunning(envoy));
  }
  while (performance.now() < deadline) {
    if (!(await isRunning(envoy))) return true;
    await sleep(20);
  }
  return false;
}
