import type { Closable } from "../base/task-group.ts";

/**
 * The state of a mesh: a small, ordered, watchable map of text to text, with one
 * revision that grows by one for each transaction that changes something. Every
 * driver passes the one conformance suite (test/support/store-conformance.ts).
 *
 * Methods reject with a CodedError: `MESH_STORE_BUSY` (too many requests are
 * waiting: try later), `MESH_STORE_FAILED` (the medium failed; nothing of the
 * request is there), `MESH_STORE_CLOSED`. A request beyond `storeLimits` or with
 * a malformed key is a bug and throws a plain Error.
 */
export interface KeyValueStore extends Closable {
  /** The item under exactly this key. */
  get(key: string): Promise<KeyValueItem | undefined>;

  /** All items whose key starts with `prefix` (empty: everything), by key, at one revision. */
  list(prefix: string): Promise<KeyValueList>;

  /**
   * All of `operations`, or none: done when every comparison holds at that
   * moment. When it resolves as committed, the change is durable.
   */
  txn(comparisons: readonly Comparison[], operations: readonly Operation[]): Promise<TxnResult>;

  /**
   * What changes under `prefix` after `fromRevision`, which a `list` gave. Ends
   * with a `resync` event when it cannot tell everything (the history is
   * compacted, the reader is too slow, the revision is from another store): list
   * again and watch from there. The caller closes it; closing the store does too.
   */
  watch(prefix: string, fromRevision: number): Watch;
}

export interface KeyValueItem {
  readonly key: string;
  readonly value: string;
  /** Of the transaction that wrote it. */
  readonly revision: number;
}

export interface KeyValueList {
  readonly items: readonly KeyValueItem[];
  /** Of the store when it was read: watch from here to miss nothing. */
  readonly revision: number;
}

/** Holds when the key was last written by that revision; 0: when it does not exist. */
export interface Comparison {
  readonly key: string;
  readonly revision: number;
}

export type Operation =
  | { readonly type: "put"; readonly key: string; readonly value: string }
  | { readonly type: "delete"; readonly key: string };

export interface TxnResult {
  readonly committed: boolean;
  /** Of this transaction where it changed something, else of the store. */
  readonly revision: number;
}

export interface Change {
  readonly key: string;
  /** `undefined`: deleted. */
  readonly value: string | undefined;
}

/** `changes`: what one transaction did under the prefix, in its order. `resync`: the last event. */
export type WatchEvent =
  | { readonly type: "changes"; readonly revision: number; readonly changes: readonly Change[] }
  | { readonly type: "resync" };

/** One reader at a time. Iteration ends after `resync` and after `close`; it rejects where the store fails. */
export interface Watch extends AsyncIterable<WatchEvent> {
  close(): void;
}

/** What fits through every driver (etcd's own defaults are 128 operations and 1.5 MiB). */
export const storeLimits = {
  keyLength: 512,
  valueBytes: 1_048_576,
  comparisons: 128,
  operations: 128,
  /** Requests of one store that wait at a time. */
  pendingRequests: 4_096,
  /** Events that one watch holds for its reader. */
  watchEvents: 1_024,
} as const;

/** Printable ASCII, so that every driver sorts alike. */
const keyPattern = /^[!-~]+$/;

/** Throws where a transaction is none that a program may ask for; also where one key is written twice in it. */
export function assertTransaction(comparisons: readonly Comparison[], operations: readonly Operation[]): void {
  if (comparisons.length > storeLimits.comparisons || operations.length > storeLimits.operations) {
    throw new Error(`a transaction of ${comparisons.length} comparisons and ${operations.length} operations is too large`);
  }
  for (const { key } of comparisons) assertKey(key);
  const written = new Set<string>();
  for (const operation of operations) {
    assertKey(operation.key);
    if (written.has(operation.key)) throw new Error(`a transaction writes ${operation.key} twice`);
    written.add(operation.key);
    if (operation.type === "put" && Buffer.byteLength(operation.value) > storeLimits.valueBytes) {
      throw new Error(`the value of ${operation.key} is larger than ${storeLimits.valueBytes} bytes`);
    }
  }
}

export function assertKey(key: string): void {
  if (key.length > storeLimits.keyLength || !keyPattern.test(key)) throw new Error(`not a store key: ${JSON.stringify(key.slice(0, 64))}`);
}

export function assertPrefix(prefix: string): void {
  if (prefix !== "") assertKey(prefix);
}

/** The first key behind all keys that start with `prefix`. */
export function prefixEnd(prefix: string): string {
  if (prefix === "") return "\u007f";
  return prefix.slice(0, -1) + String.fromCharCode(prefix.charCodeAt(prefix.length - 1) + 1);
}
