import { readdir, readFile, readlink, stat } from "node:fs/promises";
import { join } from "node:path";

import { CGROUP_ROOTS } from "../binding.ts";

/** Whether a control group is another one, or lies in it. */
export function isInside(path: string, group: string): boolean {
  return group === "" || path === group || path.startsWith(`${group}/`);
}

/**
 * The path of a control group by the inode of its folder; undefined where none
 * has it (any more).
 *
 * @param likely is looked through first
 */
export async function findControlGroup(id: number, likely: string, roots: readonly string[] = CGROUP_ROOTS): Promise<string | undefined> {
  for (const start of new Set([likely, ""])) {
    for (const root of roots) {
      const found = await findBelow(root, start, id);
      if (found !== undefined) return found;
    }
  }
  return undefined;
}

async function findBelow(root: string, path: string, id: number): Promise<string | undefined> {
  const folder = join(root, path);
  try {
    if ((await stat(folder)).ino === id) return path;
    for (const entry of await readdir(folder, { withFileTypes: true })) {
      const found = entry.isDirectory() ? await findBelow(root, join(path, entry.name), id) : undefined;
      if (found !== undefined) return found;
    }
  } catch {
    // It went while we looked.
  }
  return undefined;
}

/** A process of a control group; `uid` is absent where the kernel does not show it to us (hidepid). */
export interface GroupProcess {
  readonly pid: number;
  readonly uid?: number;
}

export async function processesOf(path: string, roots: readonly string[] = CGROUP_ROOTS): Promise<readonly GroupProcess[]> {
  const pids = (await readFirst(roots.map((root) => join(root, path, "cgroup.procs")))).split("\n").filter(Boolean).map(Number);
  // 0 is a process of another pid namespace.
  return Promise.all(
    pids.filter((pid) => pid > 0).map(async (pid) => {
      const uid = await stat(`/proc/${pid}`).then(({ uid }) => uid, () => undefined);
      return { pid, ...(uid === undefined ? {} : { uid }) };
    }),
  );
}

/** For people: which of some processes has the socket open, as far as we may see it. */
export async function holderOf(inode: number, processes: readonly GroupProcess[]): Promise<number | undefined> {
  const [only] = processes;
  if (processes.length <= 1) return only?.pid;
  for (const { pid } of processes) {
    try {
      for (const descriptor of await readdir(`/proc/${pid}/fd`)) {
        if ((await readlink(`/proc/${pid}/fd/${descriptor}`)) === `socket:[${inode}]`) return pid;
      }
    } catch {
      // It ended, or the agent may not look into it.
    }
  }
  return undefined;
}

async function readFirst(paths: readonly string[]): Promise<string> {
  for (const path of paths) {
    const text = await readFile(path, "utf8").catch(() => undefined);
    if (text !== undefined) return text;
  }
  return "";
}
