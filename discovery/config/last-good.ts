import type { ResourceKey } from "../../api/resource.ts";
import { backoffDelay } from "../../base/backoff.ts";
import { type Clock, systemClock } from "../../base/clock.ts";
import type { Closable } from "../../base/task-group.ts";
import { type KeyValueStore, type Operation, storeLimits } from "../../store/key-value.ts";
import type { GoodResource } from "./merge.ts";
import { decodeResource, encodeResource } from "./stored-resource.ts";

const PREFIX = "config/last-good/";
const RETRY = { baseMs: 500, maxMs: 30_000 };

/** What was last accepted, on durable ground: a control plane that starts with a broken file serves this. */
export interface LastGood extends Closable {
  /** Resources that this version would not accept, or that are not allowed any more, are left out. */
  load(): Promise<ReadonlyMap<ResourceKey, GoodResource>>;
  /**
   * Notes that what is in force has changed; undefined removes. It returns at
   * once: writing follows, newest value per key, and a store that fails is tried
   * again. `close` writes what is left.
   */
  note(changes: ReadonlyMap<ResourceKey, GoodResource | undefined>): void;
}

export interface LastGoodOptions {
  readonly store: KeyValueStore;
  readonly clock?: Clock;
  /** False for what its source may not say any more: what was allowed may have been taken back since. */
  readonly isAllowed?: (good: GoodResource) => boolean;
  readonly onProblem?: (failure: unknown) => void;
}

/**
 * Keeps the last good configuration in the state store. A resource that is too
 * large for a store key or value is not kept; it is in force all the same.
 */
export function createLastGood(options: LastGoodOptions): LastGood {
  const { store, clock = systemClock, isAllowed = () => true, onProblem } = options;
  let dirty = new Map<ResourceKey, GoodResource | undefined>();
  let writing: Promise<void> | undefined;
  let cancelRetry: (() => void) | undefined;
  let attempt = 0;
  let isClosed = false;

  const writeAll = async (): Promise<void> => {
    while (dirty.size > 0) {
      const batch = new Map(dirty.entries().take(storeLimits.operations));
      for (const key of batch.keys()) dirty.delete(key);
      try {
        await store.txn([], [...batch].flatMap(([key, good]) => operationOf(key, good)));
        attempt = 0;
      } catch (failure) {
        // What was noted meanwhile is newer.
        dirty = new Map([...batch, ...dirty]);
        throw failure;
      }
    }
  };
  const start = (): void => {
    if (writing !== undefined) return;
    cancelRetry?.();
    cancelRetry = undefined;
    writing = writeAll()
      .catch((failure: unknown) => {
        onProblem?.(failure);
        if (!isClosed) cancelRetry = clock.after(backoffDelay(RETRY, attempt), start);
        attempt += 1;
      })
      .finally(() => {
        writing = undefined;
      });
  };

  return {
    async load() {
      const { items } = await store.list(PREFIX);
      return new Map(items.flatMap(({ key, value }) => {
        const good = decodeGood(value, key.slice(PREFIX.length));
        return good === undefined || !isAllowed(good) ? [] : [[key.slice(PREFIX.length), good] as const];
      }));
    },
    note(changes) {
      if (isClosed) return;
      for (const [key, good] of changes) dirty.set(key, good);
      if (dirty.size > 0 && cancelRetry === undefined) start();
    },
    async close() {
      isClosed = true;
      cancelRetry?.();
      await writing;
      await writeAll().catch((failure: unknown) => onProblem?.(failure));
    },
  };
}

interface StoredGood {
  readonly resource: string;
  readonly unit: string;
  readonly acceptedAtMs: number;
}

function operationOf(key: ResourceKey, good: GoodResource | undefined): Operation[] {
  if (good === undefined) return [{ type: "delete", key: PREFIX + key }];
  const stored: StoredGood = { resource: encodeResource(good.resource), unit: good.unit, acceptedAtMs: good.acceptedAtMs };
  const value = JSON.stringify(stored);
  return Buffer.byteLength(value) > storeLimits.valueBytes ? [] : [{ type: "put", key: PREFIX + key, value }];
}

/** Undefined for what cannot be in force: another form, another key, or no longer acceptable. */
function decodeGood(value: string, key: ResourceKey): GoodResource | undefined {
  let stored: Partial<StoredGood> | null;
  try {
    stored = JSON.parse(value) as Partial<StoredGood> | null;
  } catch {
    return undefined;
  }
  const { resource, unit, acceptedAtMs } = stored ?? {};
  if (typeof resource !== "string" || typeof unit !== "string" || typeof acceptedAtMs !== "number") return undefined;
  const document = decodeResource(resource, key);
  return document.resource === undefined || document.key !== key ? undefined : { resource: document.resource, unit, acceptedAtMs };
}
