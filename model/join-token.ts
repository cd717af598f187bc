import { err, ok } from "../base/result.ts";
import type { Result } from "../base/result.ts";
import { SecretBytes } from "../base/secret-bytes.ts";

/**
 * What a new host shows once to be let in, and how it knows whom to trust. Its
 * text is `im1.<id>.<secret>.<root fingerprint>`: one word without characters
 * that a shell, a URL or YAML would change.
 */
export interface JoinToken {
  /** Names the token in the store and in logs; not secret. 16 hex digits. */
  readonly id: string;
  /** 32 random bytes. */
  readonly secret: SecretBytes;
  /** SHA-256 of the root key's SubjectPublicKeyInfo, hex: the only root that the new host trusts. */
  readonly rootFingerprint: string;
}

const pattern = /^im1\.([0-9a-f]{16})\.([A-Za-z0-9_-]{43})\.([0-9a-f]{64})$/;

/** The error never quotes the text. */
export function parseJoinToken(text: string): Result<JoinToken, string> {
  const [, id, secretText, rootFingerprint] = pattern.exec(text.trim()) ?? [];
  if (id === undefined || secretText === undefined || rootFingerprint === undefined) {
    return err("a join token reads im1.<id>.<secret>.<fingerprint>");
  }
  const secret = Buffer.from(secretText, "base64url");
  // 43 characters carry two bits more than 32 bytes: a second spelling of one secret is not accepted.
  if (secret.toString("base64url") !== secretText) return err("the secret of the join token is damaged");
  return ok({ id, secret: new SecretBytes(secret), rootFingerprint });
}

/** The token's text, as a secret: it is shown once, to whoever asked for it. */
export function formatJoinToken(token: JoinToken): SecretBytes {
  const secret = Buffer.from(token.secret.reveal()).toString("base64url");
  return new SecretBytes(`im1.${token.id}.${secret}.${token.rootFingerprint}`);
}
