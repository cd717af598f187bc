import { readFile, stat } from "node:fs/promises";
import { messageOf } from "../../../base/coded-error.ts";
import { SecretBytes } from "../../../base/secret-bytes.ts";
import { consulFailure } from "./failure.ts";

/** Thousands of questions at a time look at the file once. */
const LOOK_INTERVAL_MS = 200;

/**
 * An ACL token that is read again whenever its file is another one. A file that
 * is missing, empty or unreadable rejects with `MESH_REGISTRY_DENIED`: without
 * the token, Consul would answer as to a stranger.
 */
export function followTokenFile(path: string): () => Promise<SecretBytes> {
  let known: { readonly version: string; readonly token: SecretBytes } | undefined;
  let looking: { readonly at: number; readonly token: Promise<SecretBytes> } | undefined;

  async function look(): Promise<SecretBytes> {
    try {
      const { ino, size, mtimeMs } = await stat(path);
      const version = `${ino} ${size} ${mtimeMs}`;
      if (known?.version === version) return known.token;
      const text = (await readFile(path, "utf8")).trim();
      if (text === "") throw new Error("it is empty");
      known = { version, token: new SecretBytes(text) };
      return known.token;
    } catch (cause) {
      throw consulFailure("MESH_REGISTRY_DENIED", `the token file cannot be read: ${messageOf(cause)}`, cause, { path });
    }
  }

  return () => {
    // Not the wall clock, which may be set.
    const now = performance.now();
    if (looking === undefined || now - looking.at >= LOOK_INTERVAL_MS) looking = { at: now, token: look() };
    return looking.token;
  };
}
