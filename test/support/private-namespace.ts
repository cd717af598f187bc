import { spawn } from "node:child_process";
import type { ChildProcess, StdioOptions } from "node:child_process";
import { mkdirSync, readFileSync, rmdirSync } from "node:fs";
import { messageOf } from "../../base/coded-error.ts";

export interface PrivateNamespaceOptions {
  readonly cwd?: string;
  readonly env?: Readonly<NodeJS.ProcessEnv>;
  /** As for `spawn`; descriptors above 2 reach the command. Inherited by default. */
  readonly stdio?: StdioOptions;
  /** Called with the running child, whose descriptors can be read then. */
  readonly onStart?: (child: ChildProcess) => void;
}

/** How a command ended: an exit code, or the signal that ended it. */
export interface CommandEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

const NAMED_NAMESPACES = "/run/netns";

/**
 * What makes the namespaces usable, as a constant script: its arguments are the
 * command. Named network namespaces and Envoy's shared memory go to a tmpfs that
 * ends with the mount namespace.
 */
const ENTER = `mount -t tmpfs tmpfs ${NAMED_NAMESPACES} && mount -t tmpfs tmpfs /dev/shm && ip link set lo up && exec "$@"`;

/**
 * Runs a command inside private network, mount and process namespaces (needs
 * root). When it ends, or this process does in whatever way, the kernel ends
 * everything that was started inside and takes interfaces, rules and mounts with
 * it, so nothing is left behind.
 *
 * The chain of ends: we die, `setpriv` has the kernel kill `unshare`; that dies,
 * and the first process of the namespace is killed, and with it all others.
 */
export async function runInPrivateNamespace(
  command: string,
  args: readonly string[],
  options: PrivateNamespaceOptions = {},
): Promise<CommandEnd> {
  const madeFolder = mkdirSync(NAMED_NAMESPACES, { recursive: true }) !== undefined;
  const isolate = ["--pdeathsig", "KILL", "unshare", "-n", "-m", "-p", "--fork", "--kill-child", "--mount-proc"];
  try {
    return await endOf(
      spawn("setpriv", [...isolate, "sh", "-c", ENTER, "sh", command, ...args], {
        stdio: options.stdio ?? "inherit",
        ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
        env: options.env ?? process.env,
      }),
      options.onStart,
    );
  } finally {
    if (madeFolder) removeIfEmpty(NAMED_NAMESPACES);
  }
}

/**
 * Ends this process once its parent is gone, as when npm was killed: nobody
 * would see what it does any more. Below npm, whose shell stays when npm is
 * killed, also once that has lost its own parent. Does not keep the process alive.
 */
export function endWithParent(): void {
  const parent = process.ppid;
  const npm = process.env["npm_lifecycle_event"] === undefined ? undefined : parentOf(parent);
  setInterval(() => {
    if (process.ppid !== parent || (npm !== undefined && parentOf(parent) !== npm)) process.exit(1);
  }, 500).unref();
}

/** Undefined for a process that is gone. Source: proc_pid_stat(5): the fourth field, behind a name in parentheses. */
function parentOf(pid: number): number | undefined {
  try {
    return Number(readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)?.split(" ")[1]);
  } catch {
    return undefined;
  }
}

function endOf(child: ChildProcess, onStart: ((child: ChildProcess) => void) | undefined): Promise<CommandEnd> {
  onStart?.(child);
  return new Promise((resolve, reject) => {
    child.once("error", (error) => reject(new Error(`cannot run setpriv and unshare: ${messageOf(error)}`, { cause: error })));
    child.once("close", (code, signal) => resolve({ code, signal }));
  });
}

function removeIfEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {
    // Somebody else made namespaces of their own in the meantime.
  }
}
