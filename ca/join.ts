import { randomBytes } from "node:crypto";

import type { VerifiedCsr } from "../base/x509/csr.ts";
import type { KeyValueStore } from "../store/key-value.ts";
import type { Authority } from "./authority.ts";
import type { CaConfig } from "./config.ts";
import { caError } from "./errors.ts";
import { authorizeHost, hostKey } from "./grant.ts";
import type { HostGrant } from "./grant.ts";
import { mintHostCertificate } from "./host-certificate.ts";
import type { Journal } from "./journal.ts";
import type { IssuedCertificate } from "./leaf.ts";
import type { Stored } from "./record.ts";
import { attestToken, tokenKey } from "./token.ts";
import type { TokenRecord } from "./token.ts";

/** What enrolment works with. */
export interface JoinContext {
  readonly store: KeyValueStore;
  readonly authority: Authority;
  readonly config: CaConfig;
  readonly journal: Journal;
}

export interface JoinAttempt {
  readonly token: string;
  readonly readCsr: () => VerifiedCsr;
  /** Already cut to a sane length. */
  readonly reportedName: string;
  /** The peer's address, for the journal. */
  readonly peer: string;
  readonly nowMs: number;
}

export interface JoinedHost {
  readonly hostId: string;
  readonly certificate: IssuedCertificate;
}

const maxAttempts = 4;

/**
 * Trades a token for a host: the token's use, the grant and the journal's entry
 * are one transaction, so that of any number of tries one makes a host. The
 * winner may ask again with the same key while the token lives. Rejects with
 * `MESH_TOKEN_…`, `MESH_CSR_INVALID`, `MESH_HOST_…`.
 */
export async function joinHost(context: JoinContext, attempt: JoinAttempt): Promise<JoinedHost> {
  const { store, authority } = context;
  for (let count = 0; count < maxAttempts; count += 1) {
    const token = await attestToken(store, attempt.token, [authority.rootFingerprint], attempt.nowMs);
    const csr = attempt.readCsr();
    const joined = token.record.used === undefined ? await enrol(context, attempt, token, csr) : await answerAgain(context, attempt, token.record, csr);
    if (joined !== undefined) return joined;
  }
  throw caError("MESH_CA_BUSY", "the host's records changed again and again while it joined");
}

async function enrol(context: JoinContext, attempt: JoinAttempt, token: Stored<TokenRecord>, csr: VerifiedCsr): Promise<JoinedHost | undefined> {
  const { authority, config, journal } = context;
  const { record } = token;
  const { nowMs } = attempt;
  const hostId = newHostId(record.hostName);
  const { spkiSha256 } = csr;
  const grant: HostGrant = {
    hostId,
    groups: record.groups,
    addressRanges: record.addressRanges,
    spkiSha256,
    tokenId: record.id,
    reportedName: attempt.reportedName,
    enrolledAtMs: nowMs,
  };
  const used: TokenRecord = { ...record, used: { hostId, spkiSha256, atMs: nowMs } };
  const certificate = mintHostCertificate(authority, config, hostId, csr, nowMs);
  const isCommitted = await journal.append(
    { type: "host-joined", facts: { ...joinFacts(attempt, record, hostId, certificate), groups: record.groups } },
    {
      comparisons: [
        { key: tokenKey(record.id), revision: token.revision },
        { key: hostKey(hostId), revision: 0 },
      ],
      operations: [
        { type: "put", key: tokenKey(record.id), value: JSON.stringify(used) },
        { type: "put", key: hostKey(hostId), value: JSON.stringify(grant) },
      ],
    },
  );
  return isCommitted ? { hostId, certificate } : undefined;
}

/** The reply to its first use may have been lost. */
async function answerAgain(context: JoinContext, attempt: JoinAttempt, token: TokenRecord, csr: VerifiedCsr): Promise<JoinedHost | undefined> {
  const { store, authority, config, journal } = context;
  const { used } = token;
  if (used === undefined || used.spkiSha256 !== csr.spkiSha256) {
    throw caError("MESH_TOKEN_USED", "the token has been used with another key", { facts: { tokenId: token.id } });
  }
  const { hostId } = used;
  const grant = await authorizeHost(store, { hostId, spkiSha256: csr.spkiSha256 });
  const certificate = mintHostCertificate(authority, config, hostId, csr, attempt.nowMs);
  const isCommitted = await journal.append(
    { type: "certificate-issued", facts: joinFacts(attempt, token, hostId, certificate) },
    { comparisons: [{ key: hostKey(hostId), revision: grant.revision }], operations: [] },
  );
  return isCommitted ? { hostId, certificate } : undefined;
}

function joinFacts(attempt: JoinAttempt, token: TokenRecord, hostId: string, { serial, spiffeId }: IssuedCertificate): Record<string, string> {
  return { hostId, tokenId: token.id, spiffeId, serial, peer: attempt.peer, reportedName: attempt.reportedName };
}

/** One DNS label, never given twice: 50 random bits behind a name that the administrator chose. */
function newHostId(hostName = "host"): string {
  const alphabet = "abcdefghijklmnopqrstuvwxyz234567";
  const random = Array.from(randomBytes(10), (byte) => alphabet.charAt(byte & 31)).join("");
  return `${hostName}-${random}`;
}
