import { type FSWatcher, watch } from "node:fs";
import { readdir, readFile, realpath, stat } from "node:fs/promises";
import { join } from "node:path";
import { yamlLimits } from "../../api/yaml-value.ts";
import { parseDocuments } from "../../api/document.ts";
import { issueCodes } from "../../api/issue-codes.ts";
import { type Clock, systemClock } from "../../base/clock.ts";
import { type CodedError, messageOf } from "../../base/coded-error.ts";
import { SourceCollection } from "../../base/collection.ts";
import type { Issue } from "../../base/issue.ts";
import { configError } from "./errors.ts";
import type { ConfigSource, ConfigUnit } from "./unit.ts";

export interface ConfigFilesOptions {
  /** Holds `.yaml` and `.yml` files, at any depth. */
  readonly directory: string;
  readonly clock?: Clock;
  /** Quiet time after a change before files are read: an editor writes in several steps. */
  readonly debounceMs?: number;
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

const MAX_FILES = 20_000;
const MAX_DEPTH = 16;

interface Seen {
  readonly fingerprint: string;
  readonly unit: ConfigUnit;
}

/**
 * Reads the directory, then follows it.
 *
 * @throws CodedError MESH_CONFIG_DIRECTORY where the directory cannot be read at the start
 */
export async function watchConfigFiles(options: ConfigFilesOptions): Promise<ConfigFiles> {
  const { directory, clock = systemClock, debounceMs = 200, rescanMs = 10_000, onProblem } = options;
  const units = new SourceCollection<ConfigUnit>();
  const seen = new Map<string, Seen>();
  const closing = new AbortController();
  let hasProblem = false;
  let running: Promise<void> | undefined;
  let isAsked = false;
  let watcher: FSWatcher | undefined;
  let cancelDebounce: (() => void) | undefined;
  let cancelRescan: (() => void) | undefined;

  const look = async (): Promise<void> => {
    const present = await readUnits(directory, seen);
    if (closing.signal.aborted) return;
    units.replaceAll(new Map([...present].map(([name, { unit }]) => [name, unit])));
    seen.clear();
    for (const [name, entry] of present) seen.set(name, entry);
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
  const touched = (): void => {
    if (closing.signal.aborted) return;
    cancelDebounce?.();
    cancelDebounce = clock.after(debounceMs, rescanQuietly);
  };
  const openWatcher = (): void => {
    try {
      watcher = watch(directory, { recursive: true, persistent: false }, touched);
      // The periodic look goes on without notifications, and opens a new watcher.
      watcher.on("error", () => {
        watcher?.close();
        watcher = undefined;
      });
    } catch {
      watcher = undefined;
    }
  };
  const scheduleRescan = (): void => {
    cancelRescan = clock.after(rescanMs, () => {
      if (closing.signal.aborted) return;
      if (watcher === undefined) openWatcher();
      rescanQuietly();
      scheduleRescan();
    });
  };

  openWatcher();
  try {
    await rescan();
  } catch (failure) {
    watcher?.close();
    throw unreadable(directory, failure);
  }
  scheduleRescan();
  return {
    origin: "files",
    units,
    rescan,
    async close() {
      closing.abort();
      watcher?.close();
      cancelDebounce?.();
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

/** @throws where a directory cannot be read: a look that misses files must not remove what they say */
async function readUnits(directory: string, seen: ReadonlyMap<string, Seen>): Promise<Map<string, Seen>> {
  const present = new Map<string, Seen>();
  for (const name of (await listFiles(await realpath(directory), "", 0)).sort()) {
    const path = join(directory, name);
    const entry = await readUnit(path, name, seen.get(name));
    if (entry !== undefined) present.set(name, entry);
  }
  return present;
}

async function listFiles(root: string, folder: string, depth: number): Promise<string[]> {
  if (depth > MAX_DEPTH) return [];
  const files: string[] = [];
  for (const entry of await readdir(join(root, folder), { withFileTypes: true })) {
    const name = join(folder, entry.name);
    if (entry.name.startsWith(".")) continue;
    if (entry.isDirectory()) files.push(...(await listFiles(root, name, depth + 1)));
    else if (isConfigFile(entry.name) && (entry.isFile() || entry.isSymbolicLink())) files.push(name);
    if (files.length > MAX_FILES) throw new Error(`more than ${MAX_FILES} files`);
  }
  return files;
}

/** Not what editors leave beside a file: `.x.yaml.swp`, `#x.yaml#`, `x.yaml~`. */
function isConfigFile(name: string): boolean {
  return /\.ya?ml$/.test(name) && !/^[.#~]/.test(name);
}

/** Undefined for a file that is gone, or is a link to a directory. */
async function readUnit(path: string, name: string, before: Seen | undefined): Promise<Seen | undefined> {
  try {
    const status = await stat(path, { bigint: true });
    if (!status.isFile()) return undefined;
    const { mtimeNs, ctimeNs, size, ino } = status;
    const fingerprint = [mtimeNs, ctimeNs, size, ino].join(":");
    if (before?.fingerprint === fingerprint && before.unit.problem === undefined) return before;
    // UTF-8 takes at most four bytes for a character; the parser judges the exact length.
    if (size > BigInt(yamlLimits.length) * 4n) throw new Error("the file is too large");
    const { documents } = parseDocuments(await readFile(path, "utf8"), path, "files");
    return { fingerprint, unit: { origin: "files", name, documents } };
  } catch (failure) {
    if (failure instanceof Error && "code" in failure && failure.code === "ENOENT") return undefined;
    const problem: Issue = {
      code: "IM0203",
      severity: issueCodes.IM0203.severity,
      message: `cannot be read: ${messageOf(failure)}`,
      path: "",
      remedy: "check its permissions",
      position: { file: path, line: 1, column: 1 },
    };
    return { fingerprint: "", unit: { origin: "files", name, documents: [], problem } };
  }
}
