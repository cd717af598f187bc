import { type FSWatcher, watch } from "node:fs";

/** A folder as it is now: another one of its name is another one. */
export interface WatchedFolder {
  readonly path: string;
  /** Device, inode and when it was made. */
  readonly identity: string;
}

/** Tells of changes in a set of folders, until closed. */
export interface FolderWatch {
  /** These are all that there are. Of a folder that was not followed before a change is told at once: it may have changed since it was looked at. */
  follow(folders: readonly WatchedFolder[]): void;
  close(): void;
}

/**
 * Watches each folder for itself. Node's own recursive watch follows each file
 * on Linux, and is deaf to one over which another one was moved out of another
 * folder. A folder that cannot be
 * watched is tried again when it is named again.
 */
export function watchFolders(onChange: () => void): FolderWatch {
  const watchers = new Map<string, FSWatcher>();
  const drop = (key: string): void => {
    watchers.get(key)?.close();
    watchers.delete(key);
  };
  return {
    follow(folders) {
      const wanted = new Map(folders.map(({ path, identity }) => [`${identity} ${path}`, path]));
      for (const key of watchers.keys()) if (!wanted.has(key)) drop(key);
      for (const [key, path] of wanted) {
        if (watchers.has(key)) continue;
        try {
          const watcher = watch(path, { persistent: false }, onChange);
          watcher.on("error", () => drop(key));
          watchers.set(key, watcher);
          onChange();
        } catch {
          // Gone again, or too many are watched: whoever looks now and then sees it.
        }
      }
    },
    close() {
      for (const key of watchers.keys()) drop(key);
    },
  };
}
