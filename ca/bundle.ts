import type { Closable } from "../base/task-group.ts";
import type { Change, KeyValueItem, KeyValueStore } from "../store/key-value.ts";
import { authorityKey, authoritySchema } from "./authority.ts";
import { readRecord } from "./record.ts";

/** The roots of a trust domain, DER, the one that signs first. */
export interface TrustBundle {
  readonly trustDomain: string;
  readonly roots: readonly Buffer[];
}

/** What the mesh trusts now. */
export async function readTrustBundle(store: KeyValueStore): Promise<TrustBundle | undefined> {
  const item = await store.get(authorityKey);
  return item === undefined ? undefined : toBundle(item);
}

/** A watch of the trust bundle; `done` rejects where the store fails. */
export interface BundleWatch extends Closable {
  readonly done: Promise<void>;
}

/** Calls back with the bundle now and after each change, in order, until closed. */
export function watchTrustBundle(store: KeyValueStore, onChange: (bundle: TrustBundle) => void): BundleWatch {
  let current: Closable | undefined;
  let isClosed = false;

  async function follow(): Promise<void> {
    for (;;) {
      const item = await listOne();
      if (isClosed) return;
      if (item.found !== undefined) onChange(toBundle(item.found));
      const watch = store.watch(authorityKey, item.revision);
      current = watch;
      let wantsResync = false;
      for await (const event of watch) {
        if (event.type === "resync") wantsResync = true;
        else showChanges(event.revision, event.changes);
      }
      // Else this watch was closed, or the store under it.
      if (!wantsResync) return;
    }
  }

  async function listOne(): Promise<{ readonly found: KeyValueItem | undefined; readonly revision: number }> {
    const { items, revision } = await store.list(authorityKey);
    return { found: items.find(({ key }) => key === authorityKey), revision };
  }

  function showChanges(revision: number, changes: readonly Change[]): void {
    for (const { key, value } of changes) {
      if (key === authorityKey && value !== undefined) onChange(toBundle({ key, value, revision }));
    }
  }

  const done = follow();
  return {
    done,
    async close() {
      isClosed = true;
      await current?.close();
      await done;
    },
  };
}

function toBundle(item: KeyValueItem): TrustBundle {
  const { trustDomain, active, roots } = readRecord(authoritySchema, item).record;
  const ordered = roots.toSorted((a, b) => Number(b.fingerprint === active) - Number(a.fingerprint === active));
  return { trustDomain, roots: ordered.map((root) => Buffer.from(root.certificate, "base64")) };
}
