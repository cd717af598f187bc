import { isIP } from "node:net";
import { z } from "zod";

import type { KeyValueItem, KeyValueStore } from "../store/key-value.ts";
import { caError } from "./errors.ts";
import { readRecord } from "./record.ts";
import type { Stored } from "./record.ts";

const dnsLabel = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?";

/** `NAMESPACE/NAME` of a WorkloadGroup. */
export const groupSchema = z.string().max(320).regex(new RegExp(`^${dnsLabel}/${dnsLabel}(\\.${dnsLabel})*$`));

/** `10.0.0.0/8`, `fd00::/8`, or one address. */
export const addressRangeSchema = z.string().refine(isAddressRange, "not an address range");

const hostGrantSchema = z.strictObject({
  hostId: z.string(),
  groups: z.array(groupSchema),
  /** Where its workloads' addresses lie; empty: anywhere. */
  addressRanges: z.array(addressRangeSchema),
  /** `spkiSha256` of the key that its newest certificate is for. */
  spkiSha256: z.string(),
  /** The key before that, until the host has shown the new one: the reply that carried it may have been lost. */
  previousSpkiSha256: z.string().optional(),
  tokenId: z.string(),
  /** What the host called itself when it joined: for people, never for decisions. */
  reportedName: z.string(),
  enrolledAtMs: z.int(),
  revoked: z.strictObject({ atMs: z.int(), reason: z.string() }).optional(),
});

/**
 * What a host may be, as the server keeps it: the only authority over that. It
 * is looked up again for every certificate and stream; reports are judged by it as
 * it is followed.
 */
export type HostGrant = z.output<typeof hostGrantSchema>;

/** Who calls, as mutual TLS has shown it: the id in the certificate, and the certificate's key. */
export interface HostCaller {
  readonly hostId: string;
  readonly spkiSha256: string;
  /** Where it calls from, for the journal. */
  readonly address?: string;
}

/** All grants are under it, one item for each host id. */
export const hostsPrefix = "ca/hosts/";

export function hostKey(hostId: string): string {
  return hostsPrefix + hostId;
}

export async function readGrant(store: KeyValueStore, hostId: string): Promise<Stored<HostGrant> | undefined> {
  const item = await store.get(hostKey(hostId));
  return item === undefined ? undefined : readGrantItem(item);
}

/** Throws `MESH_CA_STATE_DAMAGED` where the item is no grant, or that of another host. */
export function readGrantItem(item: KeyValueItem): Stored<HostGrant> {
  const grant = readRecord(hostGrantSchema, item);
  if (hostKey(grant.record.hostId) !== item.key) throw caError("MESH_CA_STATE_DAMAGED", `the record ${item.key} is that of another host`);
  return grant;
}

/** All that can be read: `onDamaged` is told of each that cannot, so that it does not hide the others. */
export async function listGrants(store: KeyValueStore, onDamaged: (failure: unknown) => void): Promise<HostGrant[]> {
  const { items } = await store.list(hostsPrefix);
  return items.flatMap((item) => {
    try {
      return [readGrantItem(item).record];
    } catch (failure) {
      onDamaged(failure);
      return [];
    }
  });
}

/**
 * The caller's grant. A caller with the newest key has shown that it holds it,
 * which retires the key before. Rejects with `MESH_HOST_UNKNOWN`,
 * `MESH_HOST_REVOKED`, `MESH_HOST_KEY_MISMATCH`.
 */
export async function authorizeHost(store: KeyValueStore, caller: HostCaller): Promise<Stored<HostGrant>> {
  const grant = await readGrant(store, caller.hostId);
  const facts = { hostId: caller.hostId };
  if (grant === undefined) throw caError("MESH_HOST_UNKNOWN", `no host ${caller.hostId} is enrolled`, { facts });
  const { revoked, spkiSha256, previousSpkiSha256 } = grant.record;
  if (revoked !== undefined) throw caError("MESH_HOST_REVOKED", `the host ${caller.hostId} was revoked: ${revoked.reason}`, { facts });
  if (caller.spkiSha256 !== spkiSha256 && caller.spkiSha256 !== previousSpkiSha256) {
    throw caError("MESH_HOST_KEY_MISMATCH", `the host ${caller.hostId} is bound to another key than its caller's`, { facts });
  }
  return caller.spkiSha256 === spkiSha256 && previousSpkiSha256 !== undefined ? retirePreviousKey(store, grant) : grant;
}

async function retirePreviousKey(store: KeyValueStore, { record, revision }: Stored<HostGrant>): Promise<Stored<HostGrant>> {
  const { previousSpkiSha256: _, ...retired } = record;
  const key = hostKey(record.hostId);
  const result = await store.txn([{ key, revision }], [{ type: "put", key, value: JSON.stringify(retired) }]);
  // Where somebody else was faster, the caller's own comparison with this revision fails, and it comes again.
  return { record: retired, revision: result.committed ? result.revision : revision };
}

/**
 * The grant after its host asked with `caller` for a certificate for a new key.
 * The caller's key stays good until the new one has been used once.
 */
export function rebindGrant(grant: HostGrant, caller: HostCaller, newSpkiSha256: string): HostGrant {
  const { previousSpkiSha256: _, ...rest } = grant;
  const isSame = caller.spkiSha256 === newSpkiSha256;
  return { ...rest, spkiSha256: newSpkiSha256, ...(isSame ? {} : { previousSpkiSha256: caller.spkiSha256 }) };
}

function isAddressRange(text: string): boolean {
  const [address = "", bits, surplus] = text.split("/");
  const family = isIP(address);
  if (family === 0 || surplus !== undefined) return false;
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128));
}
