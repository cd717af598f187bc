import { hash } from "node:crypto";

/**
 * The version of a piece of content: the first 128 bits of its SHA-256, in hex.
 * Equal bytes have equal versions on every replica and after every restart.
 */
export function contentHash(bytes: Uint8Array | string): string {
  return hash("sha256", bytes, "hex").slice(0, 32);
}
