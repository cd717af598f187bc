import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { LabHost, LabProcess } from "../test/support/network-lab.ts";
import { waitUntil } from "../test/support/wait-until.ts";

/** A long-running command on a host, with its log in a file. */
export interface Daemon {
  readonly name: string;
  readonly logPath: string;
  start(): void;
  isRunning(): boolean;
  /** SIGTERM, as the service manager would send it; resolves when it is gone. */
  stop(): Promise<void>;
  /** SIGUSR2, which asks an agent to take its host out of the mesh. */
  leave(): Promise<void>;
  /** SIGKILL; what it started lives on. */
  kill(): Promise<void>;
}

export interface DaemonOptions {
  readonly name: string;
  readonly host: LabHost;
  readonly command: readonly string[];
  readonly logPath: string;
}

export const CLI_PATH = fileURLToPath(new URL("../cli/main.ts", import.meta.url));

/** `ironmesh …`, as this checkout runs it. */
export function ironmeshCommand(...args: readonly string[]): readonly string[] {
  return [process.execPath, "--disable-warning=ExperimentalWarning", CLI_PATH, ...args];
}

/** A constant script: the log is a file, so that it can be followed and outlives what writes it. */
const LOGGED = 'exec "$@" >>"$IRONMESH_DEMO_LOG" 2>&1';

export function createDaemon({ name, host, command, logPath }: DaemonOptions): Daemon {
  let running: LabProcess | undefined;
  const isRunning = (): boolean => running !== undefined && running.child.exitCode === null && running.child.signalCode === null;
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    running?.child.kill(signal);
    while (isRunning()) await sleep(20);
  };
  return {
    name,
    logPath,
    isRunning,
    start() {
      if (isRunning()) throw new Error(`${name} runs already`);
      running = host.spawn("sh", ["-c", LOGGED, "sh", ...command], { env: { IRONMESH_DEMO_LOG: logPath } });
    },
    stop: () => end("SIGTERM"),
    leave: () => end("SIGUSR2"),
    kill: () => end("SIGKILL"),
  };
}

/** Waits, but not for a process that has ended. */
export async function whileRunning(daemon: Daemon, what: string, condition: () => Promise<boolean>): Promise<void> {
  await waitUntil(async () => !daemon.isRunning() || (await condition()), { what, intervalMs: 200 });
  if (!daemon.isRunning()) throw new Error(`the ${daemon.name} ended while waiting for ${what}`);
}
