import type { ParsedDocuments } from "../../api/document.ts";
import { issueCodes } from "../../api/issue-codes.ts";
import { type AnyResource, resourceKey, type ResourceKey } from "../../api/resource.ts";
import { backoffDelay } from "../../base/backoff.ts";
import { type Clock, systemClock } from "../../base/clock.ts";
import { SourceCollection } from "../../base/collection.ts";
import { isAcceptable, type Issue } from "../../base/issue.ts";
import { type KeyValueStore, type Operation, storeLimits, type Watch } from "../../store/key-value.ts";
import { decodeResource, encodeResource } from "./stored-resource.ts";
import type { ConfigSource, ConfigUnit } from "./unit.ts";

const PREFIX = "config/resources/";
const RETRY = { baseMs: 200, maxMs: 10_000 };

/** What came of an apply: nothing is stored unless every document is acceptable. */
export interface ApplyResult {
  readonly stored: boolean;
  readonly resources: readonly AnyResource[];
  readonly issues: readonly Issue[];
}

/**
 * Stores what a user applied: every document, or none where one has errors.
 *
 * @throws CodedError of the store
 */
export async function applyDocuments(store: KeyValueStore, parsed: ParsedDocuments): Promise<ApplyResult> {
  const { resources } = parsed;
  const issues = [...parsed.issues, ...tooLarge(resources), ...repeated(resources)];
  if (!isAcceptable(issues) || resources.length === 0) return { stored: false, resources, issues };
  const puts = resources.map((resource): Operation => ({ type: "put", key: PREFIX + resourceKey(resource), value: encodeResource(resource) }));
  for (let start = 0; start < puts.length; start += storeLimits.operations) {
    await store.txn([], puts.slice(start, start + storeLimits.operations));
  }
  return { stored: true, resources, issues };
}

/** False where the store holds no such resource. */
export async function removeStored(store: KeyValueStore, key: ResourceKey): Promise<boolean> {
  const item = await store.get(PREFIX + key);
  if (item === undefined) return false;
  const { committed } = await store.txn([{ key: item.key, revision: item.revision }], [{ type: "delete", key: item.key }]);
  return committed || removeStored(store, key);
}

function tooLarge(resources: readonly AnyResource[]): Issue[] {
  return resources
    .filter((resource) => Buffer.byteLength(encodeResource(resource)) > storeLimits.valueBytes)
    .map(({ position }) => ({
      code: "IM0102",
      severity: issueCodes.IM0102.severity,
      message: `the resource is larger than ${storeLimits.valueBytes} bytes`,
      path: "",
      position,
    }));
}

function repeated(resources: readonly AnyResource[]): Issue[] {
  const seen = new Set<ResourceKey>();
  return resources.flatMap((resource): Issue[] => {
    const key = resourceKey(resource);
    if (!seen.has(key)) {
      seen.add(key);
      return [];
    }
    const { severity } = issueCodes.IM0202;
    return [{ code: "IM0202", severity, message: `${key} is there twice`, path: "", position: resource.position, remedy: "remove one of the two" }];
  });
}

export interface StoredConfigOptions {
  readonly store: KeyValueStore;
  readonly clock?: Clock;
  /** Told when the store fails (nothing changes then; it is tried again). */
  readonly onProblem?: (failure: unknown) => void;
}

/**
 * The resources that were applied, followed as they change on any replica.
 *
 * @throws CodedError of the store where it cannot be read at the start
 */
export async function watchStoredConfig(options: StoredConfigOptions): Promise<ConfigSource> {
  const { store, clock = systemClock, onProblem } = options;
  const units = new SourceCollection<ConfigUnit>();
  const closing = new AbortController();
  let watch: Watch | undefined;
  let endPause: (() => void) | undefined;

  const list = async (): Promise<number> => {
    const { items, revision } = await store.list(PREFIX);
    units.replaceAll(new Map(items.map(({ key, value }) => [key, unitOf(key, value)])));
    return revision;
  };
  const follow = async (fromRevision: number): Promise<void> => {
    watch = store.watch(PREFIX, fromRevision);
    for await (const event of watch) {
      if (event.type === "resync") return;
      units.apply(event.changes.map(({ key, value }) => [key, value === undefined ? undefined : unitOf(key, value)]));
    }
  };
  const run = async (start: number): Promise<void> => {
    let revision: number | undefined = start;
    for (let attempt = 0; !closing.signal.aborted; ) {
      try {
        revision ??= await list();
        attempt = 0;
        await follow(revision);
      } catch (failure) {
        if (closing.signal.aborted) return;
        onProblem?.(failure);
        await new Promise<void>((resolve) => {
          const cancel = clock.after(backoffDelay(RETRY, attempt), resolve);
          endPause = () => {
            cancel();
            resolve();
          };
        });
        attempt += 1;
      }
      revision = undefined;
    }
  };
  const running = run(await list());
  return {
    origin: "store",
    units,
    async close() {
      closing.abort();
      watch?.close();
      endPause?.();
      await running;
    },
  };
}

function unitOf(storeKey: string, value: string): ConfigUnit {
  const name = storeKey.slice(PREFIX.length);
  return { origin: "store", name, documents: [decodeResource(value, name)] };
}
