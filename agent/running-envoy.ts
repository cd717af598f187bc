import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";

/** An Envoy of ours, by the bootstrap file on its command line. */
export interface RunningEnvoy {
  readonly pid: number;
  /** In clock ticks after boot: with the pid, names one process for ever. */
  readonly startedAt: string;
  readonly fingerprint: string;
  readonly epoch: number;
}

/** `<run>/envoy/bootstrap-<fingerprint>-<epoch>.json` */
export function bootstrapPath(folder: string, fingerprint: string, epoch: number): string {
  return join(folder, `bootstrap-${fingerprint}-${epoch}.json`);
}

export function adminSocketPath(folder: string, epoch: number): string {
  return join(folder, `admin-${epoch}.sock`);
}

/**
 * The Envoys that an earlier agent started and left (it was killed). The
 * process table is asked, not a pid file: a file can be older than the truth,
 * and an agent that dies right after the start would not have written it.
 *
 * @param uid whose processes count; another user's with the same command line is not ours
 */
export async function findRunningEnvoys(folder: string, uid: number): Promise<readonly RunningEnvoy[]> {
  const found: RunningEnvoy[] = [];
  for (const entry of await readdir("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      const argv = (await readFile(`/proc/${entry}/cmdline`, "utf8")).split("\0");
      const file = argv[argv.indexOf("--config-path") + 1] ?? "";
      const match = /^bootstrap-([0-9a-f]+)-(\d+)\.json$/.exec(file.startsWith(`${folder}/`) ? file.slice(folder.length + 1) : "");
      if (match === null || (await stat(`/proc/${entry}`)).uid !== uid) continue;
      const startedAt = await processStart(Number(entry));
      if (startedAt !== undefined) found.push({ pid: Number(entry), startedAt, fingerprint: match[1] ?? "", epoch: Number(match[2]) });
    } catch {
      // It ended while we looked.
    }
  }
  return found.toSorted((a, b) => a.epoch - b.epoch);
}

/** When a process started; undefined once it is gone or only waits to be collected. */
export async function processStart(pid: number): Promise<string | undefined> {
  try {
    const text = await readFile(`/proc/${pid}/stat`, "utf8");
    // The name, in brackets, may hold anything; fields after it are plain (proc_pid_stat(5)).
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" || fields[0] === "X" ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

export async function isRunning(process: Pick<RunningEnvoy, "pid" | "startedAt">): Promise<boolean> {
  return (await processStart(process.pid)) === process.startedAt;
}
