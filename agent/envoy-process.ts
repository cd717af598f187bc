import { spawn } from "node:child_process";
import { closeSync } from "node:fs";
import { chown, chmod, mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { writeFileAtomically } from "../base/atomic-file.ts";
import { backoffDelay } from "../base/backoff.ts";
import { contentHash } from "../base/content-hash.ts";
import { messageOf } from "../base/coded-error.ts";
import type { Logger } from "../base/logger.ts";
import type { Closable } from "../base/task-group.ts";
import { connectAdmin } from "./admin.ts";
import type { EnvoyAdmin } from "./admin.ts";
import { buildBootstrap } from "./bootstrap.ts";
import type { BootstrapInput } from "./bootstrap.ts";
import type { EnvoyBinary, UserIds } from "./envoy-binary.ts";
import { stopEnvoy } from "./envoy-stop.ts";
import { openOutputPipe } from "./output-pipe.ts";
import type { OutputPipe } from "./output-pipe.ts";
import { adminSocketPath, bootstrapPath, findRunningEnvoys, isRunning, processStart } from "./running-envoy.ts";
import type { RunningEnvoy } from "./running-envoy.ts";

export interface EnvoyOptions {
  readonly binary: EnvoyBinary;
  /** Absent: the agent's own user (the agent is not root). */
  readonly user?: UserIds;
  readonly runDir: string;
  readonly bootstrap: Omit<BootstrapInput, "adminSocketPath">;
  readonly concurrency: number;
  readonly logLevel: string;
  readonly drainMs: number;
  readonly logger: Logger;
  /** A line of Envoy's standard output: access logs. */
  readonly onAccessLog: (line: string) => void;
  readonly onChange?: (status: EnvoyStatus) => void;
}

export interface EnvoyStatus {
  /** `restarting`: it ended and is started again after a pause. */
  readonly phase: "starting" | "ready" | "unready" | "restarting" | "stopped";
  readonly pid?: number;
  /** It was started by an earlier agent. */
  readonly adopted: boolean;
  readonly restarts: number;
  /** What it said last on standard error, for whoever must find out why it ended. */
  readonly lastOutput: readonly string[];
}

/** The host's Envoy, kept running until closed. */
export interface EnvoyProcess extends Closable {
  admin(): EnvoyAdmin;
  status(): EnvoyStatus;
  /** Drains and stops it. */
  close(): Promise<void>;
  /** Ends the supervision and leaves Envoy serving, for the next agent to adopt. */
  release(): Promise<void>;
}

const RESTART = { baseMs: 200, maxMs: 10_000 };
/** An Envoy that ran this long and ends is no crash loop. */
const SETTLED_MS = 60_000;
const LOOK_EVERY_MS = 200;
/** So many looks in a row: one that an Envoy under load misses says nothing about what it serves. */
const UNREADY_AFTER = 5;
const KEPT_LINES = 20;

/**
 * Runs Envoy. One that an earlier agent left running with the same bootstrap
 * is adopted: it serves on and reconnects to the agent's socket by itself. One
 * with another bootstrap serves until the new one is ready, and is then drained.
 */
export async function startEnvoy(options: EnvoyOptions): Promise<EnvoyProcess> {
  const { runDir, logger, onChange } = options;
  const folder = join(runDir, "envoy");
  const user = options.user ?? { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await chmod(folder, 0o700);
  await chown(folder, user.uid, user.gid);

  let lastOutput: readonly string[] = [];
  const stdout = await openOutputPipe(join(runDir, "envoy.stdout"), options.onAccessLog);
  const stderr = await openOutputPipe(join(runDir, "envoy.stderr"), (line) => {
    lastOutput = [...lastOutput, line].slice(-KEPT_LINES);
    logLine(logger, line);
  });

  const args = envoyArguments(options);
  const fingerprint = contentHash(JSON.stringify([buildBootstrap({ ...options.bootstrap, adminSocketPath: "" }).hash, options.binary, args]));
  const running = await findRunningEnvoys(folder, user.uid);
  const adoptable = running.findLast((envoy) => envoy.fingerprint === fingerprint);
  let superseded = running.filter((envoy) => envoy !== adoptable);
  let epoch = Math.max(0, ...running.map((envoy) => envoy.epoch));
  let current: RunningEnvoy | undefined = adoptable;
  const stopping = new AbortController();
  const { signal } = stopping;
  let status: EnvoyStatus = { phase: "starting", adopted: adoptable !== undefined, restarts: 0, lastOutput };
  if (adoptable !== undefined) {
    logger.info({ pid: adoptable.pid }, "an envoy of an earlier agent still serves and is adopted");
    // Known before anybody is told about this host: the agent's restart is nothing that its workloads suffer from.
    const isReady = await connectAdmin(adminSocketPath(folder, adoptable.epoch)).isReady().catch(() => false);
    if (isReady) status = { ...status, phase: "ready", pid: adoptable.pid };
  }
  await removeLeftovers(folder, running);

  const change = (next: Partial<EnvoyStatus>): void => {
    const before = status;
    status = { ...status, ...next, lastOutput };
    if (before.phase !== status.phase || before.pid !== status.pid) onChange?.(status);
  };
  const launch = async (): Promise<RunningEnvoy> => {
    epoch += 1;
    const file = bootstrapPath(folder, fingerprint, epoch);
    const { json } = buildBootstrap({ ...options.bootstrap, adminSocketPath: adminSocketPath(folder, epoch) });
    await writeFileAtomically(file, json, 0o400);
    await chown(file, user.uid, user.gid);
    const pid = await spawnEnvoy(options, ["--config-path", file, ...args], stdout, stderr);
    const startedAt = (await processStart(pid)) ?? "gone";
    logger.info({ pid, version: options.binary.version }, "envoy started");
    return { pid, startedAt, fingerprint, epoch };
  };
  /** Follows one Envoy until it is gone or we stop. */
  const follow = async (envoy: RunningEnvoy): Promise<void> => {
    const admin = connectAdmin(adminSocketPath(folder, envoy.epoch));
    if (status.phase !== "ready" || status.pid !== envoy.pid) change({ phase: "starting", pid: envoy.pid });
    let misses = 0;
    while (!signal.aborted && (await isRunning(envoy))) {
      const isReady = await admin.isReady().catch(() => false);
      misses = isReady ? 0 : misses + 1;
      if (isReady) change({ phase: "ready" });
      else if (status.phase === "ready" && misses >= UNREADY_AFTER) change({ phase: "unready" });
      if (isReady && superseded.length > 0) {
        const old = superseded;
        superseded = [];
        await Promise.all(old.map((one) => stopEnvoy(one, connectAdmin(adminSocketPath(folder, one.epoch)), options)));
      }
      await pause(isReady ? 5 * LOOK_EVERY_MS : LOOK_EVERY_MS, signal);
    }
  };
  const supervise = async (): Promise<void> => {
    let attempt = 0;
    while (!signal.aborted) {
      const startedAtMs = performance.now();
      try {
        current ??= await launch();
        await follow(current);
      } catch (failure) {
        logger.error({ reason: messageOf(failure) }, "envoy could not be started");
      }
      if (signal.aborted) return;
      current = undefined;
      attempt = performance.now() - startedAtMs > SETTLED_MS ? 0 : attempt + 1;
      const delayMs = backoffDelay(RESTART, attempt);
      change({ phase: "restarting", adopted: false, restarts: status.restarts + 1 });
      logger.error({ restarts: status.restarts, delayMs, lastOutput }, attempt > 3 ? "envoy ends again and again; it is still being restarted" : "envoy ended and is started again");
      await pause(delayMs, signal);
    }
  };
  const supervision = supervise();
  const end = async (stop: boolean): Promise<void> => {
    stopping.abort();
    await supervision;
    if (stop) {
      const left = current === undefined ? superseded : [...superseded, current];
      await Promise.all(left.map((envoy) => stopEnvoy(envoy, connectAdmin(adminSocketPath(folder, envoy.epoch)), options)));
      change({ phase: "stopped" });
    }
    stdout.close();
    stderr.close();
  };
  return {
    admin: () => connectAdmin(adminSocketPath(folder, current?.epoch ?? epoch)),
    status: () => ({ ...status, lastOutput }),
    close: () => end(true),
    release: () => end(false),
  };
}

/** Sleeps until the time is over or the signal comes. */
async function pause(delayMs: number, signal: AbortSignal): Promise<void> {
  await sleep(delayMs, undefined, { signal }).catch(() => undefined);
}

function envoyArguments(options: EnvoyOptions): readonly string[] {
  // Listeners close when the drain time is over, so that the last half is for what is still open.
  const drainSeconds = Math.max(1, Math.floor(options.drainMs / 2_000));
  return [
    "--disable-hot-restart",
    "--concurrency", String(options.concurrency),
    "--log-level", options.logLevel,
    "--log-format", "[%l][%n] %v",
    "--drain-time-s", String(drainSeconds),
  ]; // prettier-ignore
}

function spawnEnvoy(options: EnvoyOptions, args: readonly string[], stdout: OutputPipe, stderr: OutputPipe): Promise<number> {
  const descriptors = [stdout.openWriter(), stderr.openWriter()] as const;
  return new Promise<number>((resolve, reject) => {
    // A session of its own: a Ctrl-C at a terminal reaches the agent, which then drains Envoy.
    const child = spawn(options.binary.path, args, {
      stdio: ["ignore", ...descriptors],
      detached: true,
      cwd: "/",
      env: {},
      ...(options.user === undefined ? {} : { uid: options.user.uid, gid: options.user.gid }),
    });
    child.once("error", reject);
    child.once("spawn", () => resolve(child.pid ?? 0));
    child.unref();
  }).finally(() => {
    for (const descriptor of descriptors) closeSync(descriptor);
  });
}

/** Envoy's `[level][name] text` as a line of our log. */
function logLine(logger: Logger, line: string): void {
  const [, level = "info", component = "envoy", text = line] = /^\[(\w+)\]\[([^\]]+)\] (.*)$/.exec(line) ?? [];
  const facts = { component };
  if (level === "critical" || level === "error") logger.error(facts, text);
  else if (level === "warning") logger.warn(facts, text);
  else if (level === "info") logger.info(facts, text);
  else logger.debug(facts, text);
}

/** Files of Envoys that are gone. */
async function removeLeftovers(folder: string, running: readonly RunningEnvoy[]): Promise<void> {
  const kept = new Set(running.map((envoy) => String(envoy.epoch)));
  for (const name of await readdir(folder)) {
    const epoch = /-(\d+)\.(json|sock)$/.exec(name)?.[1];
    if (epoch !== undefined && !kept.has(epoch)) await rm(join(folder, name), { force: true });
  }
}
