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
  /** The control group that decides, below the root, whether or not it exists now. */
  readonly cgroup?: string;
}

/** Where control groups of version 2 are: alone, or beside those of version 1. */
export const CGROUP_ROOTS: readonly string[] = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
const run = promisify(execFile);

export async function resolveBinding(bind: WorkloadBinding): Promise<ResolvedBinding> {
  if (bind.uid !== undefined) {
    const { uid } = await lookUpUser(bind.uid);
    return { match: { uids: [uid] }, stamp: `uid ${uid}` };
  }
  if (bind.ports !== undefined) return { stamp: "ports", reason: "it is bound to ports, and only serves" };
  // Where systemd does not answer, the unit has the place that most units have.
  const cgroup = bind.cgroup ?? (await cgroupOfUnit(bind.systemdUnit ?? "").catch(() => join("system.slice", bind.systemdUnit ?? "")));
  const inode = await inodeOf(cgroup);
  if (inode === undefined) return { stamp: "none", reason: `${bind.cgroup ?? bind.systemdUnit ?? ""} does not run`, cgroup };
  return { match: { cgroups: [cgroup] }, stamp: `cgroup ${cgroup} ${inode}`, cgroup };
}

/** This process's own cgroup (v2), without the leading slash; undefined where it is the root. */
export async function ownCgroup(): Promise<string | undefined> {
  const lines = await readFile("/proc/self/cgroup", "utf8");
  const path = /^0::\/(.+)$/m.exec(lines)?.[1];
  return path === undefined || path.startsWith("..") ? undefined : path;
}

/**
 * Where the unit is, or will be once it runs.
 *
 * @throws Error where systemd does not answer
 */
export async function cgroupOfUnit(unit: string): Promise<string> {
  const { stdout } = await run("systemctl", ["show", "--property=ControlGroup", "--property=Slice", "--", unit], { timeout: 5_000 });
  const properties = new Map(stdout.split("\n").map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]));
  const running = properties.get("ControlGroup") ?? "";
  if (running !== "") return running.replace(/^\//, "");
  return join(slicePath(properties.get("Slice") || "system.slice"), unit);
}

/** `a-b.slice` lies in `a.slice`, and `-.slice` is the root (systemd.slice(5)). */
export function slicePath(slice: string): string {
  const parts = slice.replace(/\.slice$/, "").split("-").filter((part) => part !== "");
  return parts.map((_, index) => `${parts.slice(0, index + 1).join("-")}.slice`).join("/");
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
