import { lstat, readdir, realpath, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { type Clock, systemClock } from "../../base/clock.ts";
import { type CodedError, messageOf } from "../../base/coded-error.ts";
import { SourceCollection } from "../../base/collection.ts";
import { configError } from "./errors.ts";
import { type FileLook, problemUnit, readFileUnit, type SeenFile } from "./file-unit.ts";
import { type WatchedFolder, watchFolders } from "./folder-watch.ts";
import type { ConfigSource, ConfigUnit } from "./unit.ts";

export interface ConfigFilesOptions {
  /** Holds `.yaml` and `.yml` files, at any depth. */
  readonly directory: string;
  readonly clock?: Clock;
  /** Quiet time after a change before files are read: an editor writes in several steps. */
  readonly debounceMs?: number;
  /** A file that takes something away is believed when it has stood unchanged for this long. */
  readonly settleMs?: number;
  /** Files are looked at this often without any notification too: notifications get lost. */
  readonly rescanMs?: number;
  /** Told when the directory cannot be read (nothing changes then), and with undefined when it can again. */
  readonly onProblem?: (problem: CodedError | undefined) => void;
}

/** A directory of YAML, followed as it changes. */
export interface ConfigFiles extends ConfigSource {
  /** Reads what changed since the last look. */
  rescan(): Promise<void>;
}

/** Where something is written all the time there is no quiet time: files are read this long after the first change. */
const LONGEST_DEBOUNCE_MS = 1_000;
const MAX_FILES = 20_000;
const MAX_DEPTH = 16;

/**
 * Reads the directory, then follows it.
 *
 * @throws CodedError MESH_CONFIG_DIRECTORY where the directory cannot be read at the start
 */
export async function watchConfigFiles(options: ConfigFilesOptions): Promise<ConfigFiles> {
  const { directory, clock = systemClock, debounceMs = 200, settleMs = 2_000, rescanMs = 10_000, onProblem } = options;
  const units = new SourceCollection<ConfigUnit>();
  const seen = new Map<string, SeenFile>();
  const closing = new AbortController();
  let hasProblem = false;
  let running: Promise<void> | undefined;
  let isAsked = false;
  /** The first change that was not looked at yet. */
  let touchedAtMs: number | undefined;
  let cancelDebounce: (() => void) | undefined;
  let cancelSettle: (() => void) | undefined;
  let cancelRescan: (() => void) | undefined;

  const touched = (): void => {
    if (closing.signal.aborted) return;
    cancelDebounce?.();
    touchedAtMs ??= clock.elapsed();
    const leftMs = touchedAtMs + LONGEST_DEBOUNCE_MS - clock.elapsed();
    cancelDebounce = clock.after(Math.max(0, Math.min(debounceMs, leftMs)), () => {
      touchedAtMs = undefined;
      rescanQuietly();
    });
  };
  const folders = watchFolders(touched);

  const look = async (): Promise<void> => {
    const [tree, links] = [await listTree(await realpath(directory), "", 0), await linkFolders(directory)];
    if (closing.signal.aborted) return;
    folders.follow([...tree.folders, ...links]);
    const present = await readUnits(directory, tree.files, seen, { nowMs: clock.elapsed(), settleMs });
    if (closing.signal.aborted) return;
    const read = [...present].map(([name, { unit }]): [string, ConfigUnit] => [name, unit]);
    units.replaceAll(new Map(read.length === 0 ? [["", emptyDirectory(directory)]] : read));
    seen.clear();
    for (const [name, entry] of present) seen.set(name, entry);
    cancelSettle?.();
    cancelSettle = undefined;
    if ([...present.values()].some(({ doubted }) => doubted !== undefined)) cancelSettle = clock.after(settleMs, rescanQuietly);
  };
  // One look at a time; a request during one is answered by the next.
  const rescan = (): Promise<void> => {
    isAsked = true;
    running ??= (async () => {
      try {
        while (isAsked && !closing.signal.aborted) {
          isAsked = false;
          await look();
        }
        if (hasProblem) onProblem?.(undefined);
        hasProblem = false;
      } finally {
        running = undefined;
      }
    })();
    return running;
  };
  const rescanQuietly = (): void => {
    rescan().catch((failure: unknown) => {
      hasProblem = true;
      onProblem?.(unreadable(directory, failure));
    });
  };
  const scheduleRescan = (): void => {
    cancelRescan = clock.after(rescanMs, () => {
      if (closing.signal.aborted) return;
      rescanQuietly();
      scheduleRescan();
    });
  };

  try {
    await rescan();
  } catch (failure) {
    folders.close();
    throw unreadable(directory, failure);
  }
  scheduleRescan();
  return {
    origin: "files",
    units,
    rescan,
    async close() {
      closing.abort();
      folders.close();
      cancelDebounce?.();
      cancelSettle?.();
      cancelRescan?.();
      await running?.catch(() => undefined);
    },
  };
}

function unreadable(directory: string, cause: unknown): CodedError {
  return configError("MESH_CONFIG_DIRECTORY", `cannot read the configuration directory ${directory}: ${messageOf(cause)}`, {
    cause,
    facts: { directory },
    hint: "check that it exists and may be read; what it said before stays in force",
  });
}

/** It is what a directory looks like while its file system is not mounted. */
function emptyDirectory(directory: string): ConfigUnit {
  return problemUnit(directory, "", "IM0205", "holds no YAML file", "mount it, or put a file with a comment there if nothing is meant to be in force");
}

async function readUnits(directory: string, files: readonly string[], seen: ReadonlyMap<string, SeenFile>, look: FileLook): Promise<Map<string, SeenFile>> {
  const present = new Map<string, SeenFile>();
  for (const name of files.toSorted()) {
    const path = join(directory, name);
    const entry = await readFileUnit(path, name, seen.get(name), look);
    if (entry !== undefined) present.set(name, entry);
  }
  return present;
}

interface Tree {
  readonly files: readonly string[];
  /** Where something may change: its folders, and those of the files that its links lead to. */
  readonly folders: readonly WatchedFolder[];
}

/** @throws where a directory cannot be read: a look that misses files must not remove what they say */
async function listTree(root: string, folder: string, depth: number): Promise<Tree> {
  if (depth > MAX_DEPTH) return { files: [], folders: [] };
  const path = join(root, folder);
  const files: string[] = [];
  const folders: WatchedFolder[] = [await watchedFolder(path)];
  for (const entry of await readdir(path, { withFileTypes: true })) {
    const name = join(folder, entry.name);
    if (entry.name.startsWith(".")) continue;
    if (entry.isDirectory()) {
      const below = await listTree(root, name, depth + 1);
      files.push(...below.files);
      folders.push(...below.folders);
    } else if (isConfigFile(entry.name) && (entry.isFile() || entry.isSymbolicLink())) {
      files.push(name);
      if (entry.isSymbolicLink()) folders.push(...(await folderBehind(join(root, name))));
    }
    if (files.length > MAX_FILES) throw new Error(`more than ${MAX_FILES} files`);
  }
  return { files, folders };
}

async function watchedFolder(path: string): Promise<WatchedFolder> {
  const { dev, ino, birthtimeNs } = await stat(path, { bigint: true });
  // A file system gives the inode of a folder that was removed to the next one that is made.
  return { path, identity: `${dev}:${ino}:${birthtimeNs}` };
}

/** The folder of the file that a link leads to; none where it leads nowhere. */
async function folderBehind(link: string): Promise<WatchedFolder[]> {
  try {
    return [await watchedFolder(dirname(await realpath(link)))];
  } catch {
    return [];
  }
}

/** The folders of the links in a directory's own path: where one is replaced, the directory is another one. */
async function linkFolders(directory: string): Promise<WatchedFolder[]> {
  const folders: WatchedFolder[] = [];
  for (let path = resolve(directory); path !== dirname(path); path = dirname(path)) {
    const isLink = await lstat(path).then((status) => status.isSymbolicLink(), () => false);
    if (isLink) folders.push(await watchedFolder(dirname(path)));
  }
  return folders;
}

/** Not what editors leave beside a file: `.x.yaml.swp`, `#x.yaml#`, `x.yaml~`. */
function isConfigFile(name: string): boolean {
  return /\.ya?ml$/.test(name) && !/^[.#~]/.test(name);
}
