import { readFile, stat } from "node:fs/promises";
import { messageOf } from "../../../base/coded-error.ts";
import { SecretBytes } from "../../../base/secret-bytes.ts";
import { consulFailure } from "./failure.ts";

/**
 * An ACL token that is read again whenever its file is another one. A file that
 * is missing, empty or unreadable rejects with `MESH_REGISTRY_DENIED`: without
 * the token, Consul would answer as to a stranger.
 */
export function followTokenFile(path: string): () => Promise<SecretBytes> {
  let known: { readonly version: string; readonly token: SecretBytes } | undefined;
  return async () => {
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
  };
}
