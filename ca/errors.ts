import { CodedError } from "../base/coded-error.ts";
import type { CodedErrorOptions } from "../base/coded-error.ts";

/** Every code of this room, with what it means and what to do about it (for docs/errors.md). */
export const caErrors = {
  MESH_TOKEN_MALFORMED: "The text is not a join token. Copy all of it, from im1. to the last character.",
  MESH_TOKEN_UNKNOWN: "No token with this id and secret exists here: it was altered, made by another control plane, or expired long ago. Create a new one.",
  MESH_TOKEN_FOREIGN: "The token was made for another root of trust than this control plane's. Check which control plane the agent joins.",
  MESH_TOKEN_EXPIRED: "The join token is past its life. Create a new one with `ironmesh token create`.",
  MESH_TOKEN_USED: "The join token has let another key in. If that was not you, revoke the host that it made; create a new token either way.",
  MESH_TOKEN_INVALID_REQUEST: "A join token was asked for with a group, life, host name or address range that cannot be.",
  MESH_CSR_INVALID: "The certificate request is malformed, its key is not allowed, or its signature does not verify.",
  MESH_HOST_UNKNOWN: "No host with this id was ever enrolled here, or its state was lost. Enrol it again with a new token.",
  MESH_HOST_REVOKED: "The host was revoked and gets no certificate again. Enrol it anew if that was a mistake.",
  MESH_HOST_KEY_MISMATCH: "The caller's key is not the one that the host is bound to: an old or copied certificate. Enrol the host again, and find out who has its old key.",
  MESH_CALLER_ANONYMOUS: "A call that needs a host's certificate came without one. An agent that never joined asks for nothing but to join.",
  MESH_CALLER_NOT_A_HOST: "The caller's certificate is a workload's or a control plane's. Only agents call here, each with its host's own certificate.",
  MESH_CALLER_NOT_VERIFIED: "The caller's certificate has expired or is of another root. A host that was off for longer than its certificate lives needs a new join token.",
  MESH_GROUP_NOT_GRANTED: "The host was not granted this WorkloadGroup. Create a token that grants it, and enrol the host with that.",
  MESH_GROUP_UNKNOWN: "No WorkloadGroup of this name exists, or its namespace or service account cannot be part of an identity.",
  MESH_CA_BUSY: "Another writer changed the same state again and again. Nothing was issued; the caller may try again.",
  MESH_CA_KEY_FILE: "The key file that protects the authority's private key is missing, unreadable, too open (it must be 0600) or malformed. Restore it from a backup, or copy it from another replica.",
  MESH_CA_KEY_WRONG: "The authority's private key cannot be decrypted with this key file. Use the key file of the replica that created the authority.",
  MESH_CA_STATE_DAMAGED: "What the store holds for the authority is not what the authority wrote. Restore a backup, and find out who changed it.",
} as const;

export type CaErrorCode = keyof typeof caErrors;

export function caError(code: CaErrorCode, message: string, options: CodedErrorOptions = {}): CodedError {
  return new CodedError(code, message, options);
}
