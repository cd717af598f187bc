import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { LabHost, LabProcess } from "../test/support/network-lab.ts";

/** A long-running `ironmesh` command on a host, with its log in a file. */
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
  /** Arguments of `ironmesh`. */
  readonly args: readonly string[];
  readonly logPath: string;
}

export const CLI_PATH = fileURLToPath(new URL("../cli/main.ts", import.meta.url));

/** A constant script: the log is a file, so that it can be followed and outlives what writes it. */
const LOGGED = 'exec "$@" >>"$IRONMESH_DEMO_LOG" 2>&1';

export function createDaemon({ name, host, args, logPath }: DaemonOptions): Daemon {
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
      const command = [process.execPath, "--disable-warning=ExperimentalWarning", CLI_PATH, ...args];
      running = host.spawn("sh", ["-c", LOGGED, "sh", ...command], { env: { IRONMESH_DEMO_LOG: logPath } });
    },
    stop: () => end("SIGTERM"),
    leave: () => end("SIGUSR2"),
    kill: () => end("SIGKILL"),
  };
}
