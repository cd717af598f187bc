import { createHash } from "node:crypto";

/**
 * The version of a piece of content: the first 128 bits of its SHA-256, in hex.
 * Equal bytes have equal versions on every replica and after every restart.
 */
export function contentHash(bytes: Uint8Array | string): string {
  return createHash("sha256").update(bytes).digest("hex").slice(0, 32);
}
