import { createCipheriv, createDecipheriv, createHmac, hkdfSync, randomBytes } from "node:crypto";
import { link, mkdir, open, rm } from "node:fs/promises";
import { dirname } from "node:path";

import { CodedError, messageOf } from "../base/coded-error.ts";
import { SecretBytes } from "../base/secret-bytes.ts";
import { caError } from "./errors.ts";

/**
 * The key outside of the store, never in it: whoever has a copy of the store
 * alone (the database file, etcd) has neither the authority's private key nor a
 * way to rewrite its journal unseen. Whoever has the key file besides has both:
 * a backup of the folder that holds the two protects nothing from its reader.
 */
export interface StateKey {
  /** AES-256-GCM; `context` must be the same to open it again. Text for the store. */
  seal(plaintext: SecretBytes, context: string): string;
  /** Throws `MESH_CA_KEY_WRONG` where key, context or content are not what was sealed. */
  open(sealed: string, context: string): SecretBytes;
  /** HMAC-SHA-256 under a key of its own, hex. */
  authenticate(content: string): string;
}

const keyBytes = 32;
const nonceBytes = 12;
const tagBytes = 16;

/** Reads the key file; `create` makes it when there is none. Rejects with `MESH_CA_KEY_FILE`. */
export async function loadStateKey(path: string, mode: "read" | "create"): Promise<StateKey> {
  try {
    if (mode === "create") await createKeyFile(path);
    return stateKey(await readKeyFile(path));
  } catch (failure) {
    if (failure instanceof CodedError) throw failure;
    throw caError("MESH_CA_KEY_FILE", `cannot use the key file ${path}: ${messageOf(failure)}`, { cause: failure });
  }
}

export function stateKey(master: SecretBytes): StateKey {
  const [encryptionKey, journalKey] = ["ironmesh state encryption", "ironmesh state authentication"].map(
    (purpose) => new SecretBytes(Buffer.from(hkdfSync("sha256", master.reveal(), "", purpose, keyBytes))),
  ) as [SecretBytes, SecretBytes];

  return {
    seal(plaintext, context) {
      const nonce = randomBytes(nonceBytes);
      const cipher = createCipheriv("aes-256-gcm", encryptionKey.reveal(), nonce);
      cipher.setAAD(Buffer.from(context));
      const ciphertext = Buffer.concat([cipher.update(plaintext.reveal()), cipher.final()]);
      return `v1.${Buffer.concat([nonce, cipher.getAuthTag(), ciphertext]).toString("base64url")}`;
    },

    open(sealed, context) {
      try {
        if (!sealed.startsWith("v1.")) throw new Error("unknown form");
        const bytes = Buffer.from(sealed.slice(3), "base64url");
        const decipher = createDecipheriv("aes-256-gcm", encryptionKey.reveal(), bytes.subarray(0, nonceBytes), { authTagLength: tagBytes });
        decipher.setAAD(Buffer.from(context));
        decipher.setAuthTag(bytes.subarray(nonceBytes, nonceBytes + tagBytes));
        return new SecretBytes(Buffer.concat([decipher.update(bytes.subarray(nonceBytes + tagBytes)), decipher.final()]));
      } catch (failure) {
        throw caError("MESH_CA_KEY_WRONG", `cannot decrypt ${context} with this key file`, { cause: failure });
      }
    },

    authenticate: (content) => createHmac("sha256", journalKey.reveal()).update(content).digest("hex"),
  };
}

/** Complete from the moment it has its name, and never replaces one: two that start at once agree. */
async function createKeyFile(path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const temporary = `${path}.${randomBytes(6).toString("hex")}.tmp`;
  try {
    const file = await open(temporary, "wx", 0o600);
    try {
      await file.writeFile(`${randomBytes(keyBytes).toString("base64")}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    await link(temporary, path).catch((failure: NodeJS.ErrnoException) => {
      if (failure.code !== "EEXIST") throw failure;
    });
    // The name must outlive a power loss before anything is encrypted with the key.
    const folder = await open(dirname(path), "r");
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  } finally {
    await rm(temporary, { force: true });
  }
}

async function readKeyFile(path: string): Promise<SecretBytes> {
  const file = await open(path, "r");
  try {
    const { mode } = await file.stat();
    if ((mode & 0o077) !== 0) {
      throw caError("MESH_CA_KEY_FILE", `the key file ${path} has mode ${(mode & 0o777).toString(8)}`, { hint: "chmod 600" });
    }
    const key = Buffer.from((await file.readFile("utf8")).trim(), "base64");
    if (key.length !== keyBytes) throw caError("MESH_CA_KEY_FILE", `the key file ${path} does not hold ${keyBytes} bytes in base64`);
    return new SecretBytes(key);
  } finally {
    await file.close();
  }
}
