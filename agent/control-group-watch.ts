import { existsSync, watch } from "node:fs";
import type { FSWatcher } from "node:fs";
import { join } from "node:path";

import type { Closable } from "../base/task-group.ts";

/** Says at once what a regular look would find later: a control group came or went. */
export interface ControlGroupWatch extends Closable {
  /** Which ones, below the root; they need not exist. */
  readonly follow: (cgroups: readonly string[]) => void;
  close(): void;
}

/**
 * Watches the deepest folder of each that exists for the next one on the way:
 * a unit's group comes before its first process. Where the kernel gives no
 * watch (there is a limit to them), nothing is said, and the regular look does it.
 *
 * @param roots where control groups may lie; the first that is one counts
 */
export function watchControlGroups(roots: readonly string[], onChange: () => void): ControlGroupWatch {
  const root = roots.find((path) => existsSync(join(path, "cgroup.procs"))) ?? roots[0] ?? "";
  const watchers = new Map<string, FSWatcher>();
  let awaited: ReadonlyMap<string, ReadonlySet<string>> = new Map();

  const start = (folder: string): void => {
    try {
      const watcher = watch(folder, { persistent: false }, (_, name) => {
        const isGone = !existsSync(folder);
        if (isGone) stop(folder);
        if (isGone || awaited.get(folder)?.has(name ?? "") === true) onChange();
      });
      watcher.on("error", () => stop(folder));
      watchers.set(folder, watcher);
    } catch {
      // It went in this moment, or there is no watch left.
    }
  };
  const stop = (folder: string): void => {
    watchers.get(folder)?.close();
    watchers.delete(folder);
  };
  return {
    follow(cgroups) {
      const wanted = new Map<string, Set<string>>();
      for (const cgroup of cgroups) {
        const [folder, name] = nextOnTheWay(root, cgroup);
        wanted.set(folder, (wanted.get(folder) ?? new Set()).add(name));
      }
      awaited = wanted;
      for (const folder of watchers.keys()) if (!wanted.has(folder)) stop(folder);
      for (const folder of wanted.keys()) if (!watchers.has(folder)) start(folder);
    },
    close() {
      for (const folder of watchers.keys()) stop(folder);
    },
  };
}

/** The deepest folder that exists above the group, and what is expected in it. */
function nextOnTheWay(root: string, cgroup: string): readonly [folder: string, name: string] {
  const parts = cgroup.split("/");
  let folder = root;
  let next = 0;
  while (next < parts.length - 1 && existsSync(join(folder, parts[next] ?? ""))) {
    folder = join(folder, parts[next] ?? "");
    next += 1;
  }
  return [folder, parts[next] ?? ""];
}
