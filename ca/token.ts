import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { z } from "zod";

import { SecretBytes } from "../base/secret-bytes.ts";
import { formatJoinToken, parseJoinToken } from "../model/join-token.ts";
import type { JoinToken } from "../model/join-token.ts";
import type { KeyValueStore, Operation } from "../store/key-value.ts";
import { caError } from "./errors.ts";
import { addressRangeSchema, groupSchema } from "./grant.ts";
import { readRecord } from "./record.ts";
import type { Stored } from "./record.ts";

/** What an administrator asks for: the grant that the token's user will have. */
export const tokenRequestSchema = z.strictObject({
  groups: z.array(groupSchema).min(1).max(64),
  addressRanges: z.array(addressRangeSchema).max(64).default([]),
  ttlSeconds: z.int().min(60).max(30 * 86_400).default(3_600),
  /** What the host's id starts with, so that people recognize it. */
  hostName: z.string().regex(/^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$/).optional(),
});

export type TokenRequest = z.input<typeof tokenRequestSchema>;

const tokenRecordSchema = z.strictObject({
  id: z.string(),
  secretSha256: z.string(),
  groups: z.array(groupSchema),
  addressRanges: z.array(addressRangeSchema),
  hostName: z.string().optional(),
  createdAtMs: z.int(),
  expiresAtMs: z.int(),
  used: z.strictObject({ hostId: z.string(), spkiSha256: z.string(), atMs: z.int() }).optional(),
});

/** A token as the store has it: its secret only as a hash. */
export type TokenRecord = z.output<typeof tokenRecordSchema>;

export interface CreatedToken {
  readonly id: string;
  /** What the new host is given; shown once, kept nowhere. */
  readonly token: SecretBytes;
  readonly expiresAtMs: number;
}

export const tokensPrefix = "ca/tokens/";
/** How long after its end a token is still known as expired. */
const remembranceMs = 7 * 86_400_000;
const maxForgottenAtOnce = 32;

export function tokenKey(id: string): string {
  return tokensPrefix + id;
}

/** A new token and the record of it; throws `MESH_TOKEN_INVALID_REQUEST`. */
export function buildToken(request: TokenRequest, rootFingerprint: string, nowMs: number): { readonly created: CreatedToken; readonly record: TokenRecord } {
  const parsed = tokenRequestSchema.safeParse(request);
  if (!parsed.success) throw caError("MESH_TOKEN_INVALID_REQUEST", `cannot create a token: ${z.prettifyError(parsed.error)}`);
  const { ttlSeconds, ...grant } = parsed.data;
  const { hostName, ...rest } = grant;
  const token: JoinToken = { id: randomBytes(8).toString("hex"), secret: new SecretBytes(randomBytes(32)), rootFingerprint };
  const expiresAtMs = nowMs + ttlSeconds * 1_000;
  const record: TokenRecord = {
    ...rest,
    ...(hostName === undefined ? {} : { hostName }),
    id: token.id,
    secretSha256: hashOf(token).toString("hex"),
    createdAtMs: nowMs,
    expiresAtMs,
  };
  return { created: { id: token.id, token: formatJoinToken(token), expiresAtMs }, record };
}

/**
 * The record of the token that this text is. Rejects with `MESH_TOKEN_…`; a used
 * token is not refused here, because its own user may come again.
 */
export async function attestToken(store: KeyValueStore, text: string, trustedFingerprints: readonly string[], nowMs: number): Promise<Stored<TokenRecord>> {
  const parsed = parseJoinToken(text);
  if (!parsed.ok) throw caError("MESH_TOKEN_MALFORMED", parsed.error);
  const token = parsed.value;
  const facts = { tokenId: token.id };
  if (!trustedFingerprints.includes(token.rootFingerprint)) throw caError("MESH_TOKEN_FOREIGN", "the token names another root of trust", { facts });
  const item = await store.get(tokenKey(token.id));
  const stored = item === undefined ? undefined : readRecord(tokenRecordSchema, item);
  // One answer for both, so that ids cannot be probed.
  if (stored === undefined || !timingSafeEqual(hashOf(token), Buffer.from(stored.record.secretSha256, "hex"))) {
    throw caError("MESH_TOKEN_UNKNOWN", "no such token", { facts });
  }
  if (nowMs >= stored.record.expiresAtMs) throw caError("MESH_TOKEN_EXPIRED", "the token has expired", { facts });
  return stored;
}

/** What deletes some of the tokens that ended long ago. */
export async function forgetTokens(store: KeyValueStore, nowMs: number): Promise<Operation[]> {
  const { items } = await store.list(tokensPrefix);
  const old = items.filter((item) => readRecord(tokenRecordSchema, item).record.expiresAtMs + remembranceMs < nowMs);
  return old.slice(0, maxForgottenAtOnce).map(({ key }) => ({ type: "delete", key }));
}

/** 256 random bits need no slow hash; the id in it binds the secret to its record. */
function hashOf(token: JoinToken): Buffer {
  return createHash("sha256").update(`ironmesh join token ${token.id} `).update(token.secret.reveal()).digest();
}
