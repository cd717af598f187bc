import { X509Certificate } from "node:crypto";
import { z } from "zod";

import type { Clock } from "../base/clock.ts";
import { randomSerial, readIssuer, signRootCertificate } from "../base/x509/certificate.ts";
import type { CertificateIssuer } from "../base/x509/certificate.ts";
import { generatePrivateKey, parsePrivateKeyPem, privateKeyPem, publicKeySpki, spkiSha256 } from "../base/x509/key.ts";
import { formatSpiffeId } from "../model/identity.ts";
import type { Comparison, KeyValueStore, Operation } from "../store/key-value.ts";
import type { CaConfig } from "./config.ts";
import { caError } from "./errors.ts";
import { loadStateKey } from "./key-file.ts";
import type { StateKey } from "./key-file.ts";
import { readRecord } from "./record.ts";

/** Who signs, and what everybody trusts. */
export interface Authority {
  readonly trustDomain: string;
  readonly issuer: CertificateIssuer;
  /** The root that signs, DER. */
  readonly root: Buffer;
  /** `spkiSha256` of its key: what join tokens carry. */
  readonly rootFingerprint: string;
  readonly notAfterMs: number;
  readonly stateKey: StateKey;
  /** True for the replica that made it. */
  readonly isNew: boolean;
}

/** Where the authority is kept; the trust bundle is read from the same record. */
export const authorityKey = "ca/authority";

/** Several roots are trusted at a time while one replaces another; `active` signs. */
export const authoritySchema = z.strictObject({
  version: z.literal(1),
  trustDomain: z.string(),
  /** `spkiSha256` of the root that signs. */
  active: z.string(),
  roots: z.array(z.strictObject({ fingerprint: z.string(), certificate: z.base64(), sealedKey: z.string() })).min(1),
});

type AuthorityRecord = z.output<typeof authoritySchema>;

/** An authority that is to be put into the store, which holds none. */
export interface AuthorityCreation {
  readonly store: KeyValueStore;
  readonly stateKey: StateKey;
  readonly facts: { readonly trustDomain: string; readonly rootFingerprint: string };
  readonly condition: { readonly comparisons: readonly Comparison[]; readonly operations: readonly Operation[] };
}

/** Stores it together with whatever else must be there from its first moment; false where another replica was faster. */
export type CreateAuthority = (creation: AuthorityCreation) => Promise<boolean>;

async function withoutJournal({ store, condition }: AuthorityCreation): Promise<boolean> {
  return (await store.txn(condition.comparisons, condition.operations)).committed;
}

/**
 * The authority that the store holds, made once: of several replicas that start
 * at the same time one creates it, and all use that. Its private key is in the
 * store only as AES-256-GCM under the key file's key.
 */
export async function openAuthority(store: KeyValueStore, clock: Clock, config: CaConfig, create: CreateAuthority = withoutJournal): Promise<Authority> {
  const existing = await store.get(authorityKey);
  // Only before the very first certificate may a missing key file be made: later it means that the key is lost.
  const stateKey = await loadStateKey(config.keyFile, existing === undefined ? "create" : "read");
  if (existing !== undefined) return unseal(readRecord(authoritySchema, existing).record, stateKey, config, false);

  const record = createRecord(clock.now(), stateKey, config);
  const committed = await create({
    store,
    stateKey,
    facts: { trustDomain: record.trustDomain, rootFingerprint: record.active },
    condition: { comparisons: [{ key: authorityKey, revision: 0 }], operations: [{ type: "put", key: authorityKey, value: JSON.stringify(record) }] },
  });
  const item = await store.get(authorityKey);
  if (item === undefined) throw caError("MESH_CA_STATE_DAMAGED", "the authority vanished while it was created");
  return unseal(readRecord(authoritySchema, item).record, stateKey, config, committed);
}

function createRecord(nowMs: number, stateKey: StateKey, config: CaConfig): AuthorityRecord {
  const { trustDomain, rootTtlDays, backdateSeconds } = config;
  const privateKey = generatePrivateKey();
  const spki = publicKeySpki(privateKey);
  const fingerprint = spkiSha256(spki);
  const certificate = signRootCertificate(
    {
      serial: randomSerial(),
      // Different for every root: some verifiers choose the issuer by name alone.
      subject: { organization: "Ironmesh", commonName: `mesh root ${fingerprint.slice(0, 16)}` },
      notBeforeMs: nowMs - backdateSeconds * 1_000,
      notAfterMs: nowMs + rootTtlDays * 86_400_000,
      spki,
      names: [{ type: "uri", value: formatSpiffeId({ trustDomain, path: "" }) }],
      keyUsage: ["keyCertSign", "crlSign"],
      extendedKeyUsage: [],
      // Room for one intermediate authority in each replica.
      authority: { maxPathLength: 1 },
    },
    privateKey,
  );
  const sealedKey = stateKey.seal(privateKeyPem(privateKey), sealContext(fingerprint));
  return { version: 1, trustDomain, active: fingerprint, roots: [{ fingerprint, certificate: certificate.toString("base64"), sealedKey }] };
}

function unseal(record: AuthorityRecord, stateKey: StateKey, config: CaConfig, isNew: boolean): Authority {
  if (record.trustDomain !== config.trustDomain) {
    throw caError("MESH_CA_STATE_DAMAGED", `the store's authority is for the trust domain ${record.trustDomain}, not ${config.trustDomain}`, {
      hint: "the trust domain of a mesh does not change: set the old one, or start with an empty store",
    });
  }
  const active = record.roots.find((root) => root.fingerprint === record.active);
  if (active === undefined) throw caError("MESH_CA_STATE_DAMAGED", "the authority's active root is not among its roots");
  const root = Buffer.from(active.certificate, "base64");
  const privateKey = parsePrivateKeyPem(stateKey.open(active.sealedKey, sealContext(active.fingerprint)));
  const issuer = privateKey.ok ? readIssuer(root, privateKey.value) : undefined;
  if (!privateKey.ok || issuer === undefined || spkiSha256(publicKeySpki(privateKey.value)) !== active.fingerprint) {
    throw caError("MESH_CA_STATE_DAMAGED", "the authority's private key and its fingerprint do not belong together");
  }
  const certificate = new X509Certificate(root);
  if (!certificate.checkPrivateKey(privateKey.value)) {
    throw caError("MESH_CA_STATE_DAMAGED", "the authority's private key and its certificate do not belong together");
  }
  const notAfterMs = certificate.validToDate.getTime();
  return { trustDomain: record.trustDomain, issuer, root, rootFingerprint: active.fingerprint, notAfterMs, stateKey, isNew };
}

/** Binds the sealed key to its certificate: it cannot be moved under another. */
function sealContext(fingerprint: string): string {
  return `the private key of root ${fingerprint}`;
}
