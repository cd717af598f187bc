import { execFile } from "node:child_process";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

import type { WorkloadBinding } from "./config.ts";
import { lookUpUser } from "./envoy-binary.ts";
import type { WorkloadMatch } from "./interception/capture-spec.ts";

/** Which processes a binding means at this moment. */
export interface ResolvedBinding {
  /** Absent where nothing can be matched now: the unit does not run. */
  readonly match?: WorkloadMatch;
  /** Changes when rules must be loaded anew although they read the same: a restarted unit has another cgroup of the same name. */
  readonly stamp: string;
  /** Why there is no match. */
  readonly reason?: string;
}

const CGROUP_ROOTS = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
const run = promisify(execFile);

export async function resolveBinding(bind: WorkloadBinding): Promise<ResolvedBinding> {
  if (bind.uid !== undefined) {
    const { uid } = await lookUpUser(bind.uid);
    return { match: { uids: [uid] }, stamp: `uid ${uid}` };
  }
  if (bind.ports !== undefined) return { stamp: "ports", reason: "it is bound to ports, and only serves" };
  const cgroup = bind.cgroup ?? (await cgroupOfUnit(bind.systemdUnit ?? ""));
  const inode = cgroup === undefined ? undefined : await inodeOf(cgroup);
  if (cgroup === undefined || inode === undefined) return { stamp: "none", reason: `${bind.cgroup ?? bind.systemdUnit ?? ""} does not run` };
  return { match: { cgroups: [cgroup] }, stamp: `cgroup ${cgroup} ${inode}` };
}

/** This process's own cgroup (v2), without the leading slash; undefined where it is the root. */
export async function ownCgroup(): Promise<string | undefined> {
  const lines = await readFile("/proc/self/cgroup", "utf8");
  const path = /^0::\/(.+)$/m.exec(lines)?.[1];
  return path === undefined || path.startsWith("..") ? undefined : path;
}

async function cgroupOfUnit(unit: string): Promise<string | undefined> {
  try {
    const { stdout } = await run("systemctl", ["show", "--property=ControlGroup", "--value", "--", unit], { timeout: 5_000 });
    const path = stdout.trim().replace(/^\//, "");
    return path === "" ? undefined : path;
  } catch {
    return undefined;
  }
}

async function inodeOf(cgroup: string): Promise<number | undefined> {
  for (const root of CGROUP_ROOTS) {
    try {
      return (await stat(join(root, cgroup))).ino;
    } catch {
      // The next root.
    }
  }
  return undefined;
}
