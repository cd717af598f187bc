import type { Comparison, KeyValueItem, KeyValueList, Operation, TxnResult, WatchEvent } from "./key-value.ts";
import type { StoreErrorCode } from "./errors.ts";

/** What the driver and its thread say to each other. */

export interface SqliteOptions {
  readonly path: string;
  /** How many transactions a watch can look back, at least. */
  readonly historyRevisions: number;
}

export type SqliteRequest =
  | { readonly type: "get"; readonly id: number; readonly key: string }
  | { readonly type: "list"; readonly id: number; readonly prefix: string }
  | {
      readonly type: "txn";
      readonly id: number;
      readonly comparisons: readonly Comparison[];
      readonly operations: readonly Operation[];
    };

export type SqliteMessage =
  | SqliteRequest
  | { readonly type: "watch"; readonly watchId: number; readonly prefix: string; readonly fromRevision: number }
  | { readonly type: "unwatch"; readonly watchId: number }
  | { readonly type: "close" };

export type SqliteAnswer = KeyValueItem | KeyValueList | TxnResult | undefined;

export type SqliteReply =
  | { readonly type: "opened" }
  | { readonly type: "open-failed"; readonly code: StoreErrorCode; readonly message: string }
  | { readonly type: "answer"; readonly id: number; readonly answer: SqliteAnswer }
  | { readonly type: "failure"; readonly id: number; readonly message: string }
  | { readonly type: "event"; readonly watchId: number; readonly event: WatchEvent }
  | { readonly type: "watch-failed"; readonly watchId: number; readonly message: string };
