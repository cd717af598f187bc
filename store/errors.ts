import { CodedError } from "../base/coded-error.ts";
import type { CodedErrorOptions } from "../base/coded-error.ts";

/** Every code of this room, with what it means and what to do about it (for docs/errors.md). */
export const storeErrors = {
  MESH_STORE_OPEN: "The state database cannot be opened: check the path, its owner, the disk, and that the file is one of Ironmesh's.",
  MESH_STORE_SCHEMA: "The state database was written by a newer Ironmesh. Start that version, or restore a backup of the older one.",
  MESH_STORE_FAILED: "Reading or writing the state failed, often because the disk is full or read-only. Nothing of the request was stored.",
  MESH_STORE_BUSY: "More requests wait for the state database than it holds; the disk is too slow for the load. The caller may try again.",
  MESH_STORE_CLOSED: "The state was used while the program was shutting down.",
} as const;

export type StoreErrorCode = keyof typeof storeErrors;

export function storeError(code: StoreErrorCode, message: string, options: CodedErrorOptions = {}): CodedError {
  return new CodedError(code, message, options);
}
