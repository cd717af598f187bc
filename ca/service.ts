import type { Clock } from "../base/clock.ts";
import { CodedError } from "../base/coded-error.ts";
import { foreignText as printable } from "../base/foreign-text.ts";
import type { Peer, UnverifiedPeer } from "../base/grpc/call.ts";
import type { Logger } from "../base/logger.ts";
import type { Closable } from "../base/task-group.ts";
import { verifyCsr } from "../base/x509/csr.ts";
import type { VerifiedCsr } from "../base/x509/csr.ts";
import { formatSpiffeId } from "../model/identity.ts";
import type { KeyValueStore } from "../store/key-value.ts";
import { openAuthority } from "./authority.ts";
import type { Authority } from "./authority.ts";
import { readTrustBundle } from "./bundle.ts";
import type { TrustBundle } from "./bundle.ts";
import { callingHost } from "./caller.ts";
import type { CaConfig } from "./config.ts";
import { mintControlPlaneCertificate } from "./control-plane-certificate.ts";
import type { ControlPlaneCertificate } from "./control-plane-certificate.ts";
import { caError } from "./errors.ts";
import { authorizeHost, hostKey, listGrants, readGrant, rebindGrant } from "./grant.ts";
import type { HostCaller, HostGrant } from "./grant.ts";
import { mintHostCertificate } from "./host-certificate.ts";
import { joinHost } from "./join.ts";
import { openJournal } from "./journal.ts";
import type { Journal, JournalEvent } from "./journal.ts";
import { startJournalAudit } from "./journal-audit.ts";
import type { JournalReport } from "./journal-audit.ts";
import { openJournalEnd } from "./journal-end.ts";
import type { JournalEnd } from "./journal-end.ts";
import type { StateKey } from "./key-file.ts";
import type { IssuedCertificate } from "./leaf.ts";
import { peerNetwork } from "./peer-network.ts";
import { rememberRefusals } from "./recent-refusals.ts";
import { noteRefusals } from "./refusals.ts";
import { buildToken, forgetTokens, tokenKey } from "./token.ts";
import type { CreatedToken, TokenRequest } from "./token.ts";
import { groupIdentity, mintWorkloadCertificate } from "./workload-certificate.ts";
import type { ResolveGroup } from "./workload-certificate.ts";

export interface CertificateAuthorityOptions {
  readonly store: KeyValueStore;
  readonly clock: Clock;
  readonly config: CaConfig;
  readonly logger: Logger;
  readonly resolveGroup: ResolveGroup;
}

export interface JoinRequest {
  readonly token: string;
  /** PKCS#10, DER. */
  readonly csr: Uint8Array;
  readonly hostName: string;
}

export interface JoinReply {
  readonly hostId: string;
  readonly certificate: IssuedCertificate;
  readonly trustBundle: TrustBundle;
}

export interface RenewReply {
  readonly certificate: IssuedCertificate;
  readonly trustBundle: TrustBundle;
}

/** A host as people see it. */
export interface HostView extends HostGrant {
  /** What its groups are now; a group that does not exist is left out. */
  readonly identities: readonly { readonly group: string; readonly spiffeId: string }[];
}

/**
 * The certificate authority, as the gRPC and HTTP layers call it. Every refusal
 * rejects with a CodedError of `caErrors`, and is in the journal (of callers who
 * come again and again, once an hour; of a peer that is refused all the time, as
 * one of a count); so is everything issued, before it is handed out.
 */
export interface CertificateAuthority extends Closable {
  readonly trustDomain: string;
  /** Of the root that signs. */
  readonly rootFingerprint: string;
  join(request: JoinRequest, peer: { readonly address: string }): Promise<JoinReply>;
  /** The request may be for a new key: the host is bound to that one then. */
  renewHost(caller: HostCaller, csr: Uint8Array): Promise<RenewReply>;
  signWorkload(caller: HostCaller, group: string, csr: Uint8Array): Promise<IssuedCertificate>;
  /** Which host is at the other end. Rejects with `MESH_CALLER_…`. */
  identify(peer: Peer): Promise<HostCaller>;
  /** Notes somebody whom TLS turned away already. */
  noteUnverified(peer: UnverifiedPeer): Promise<void>;
  /** Notes a host that is who it says, and is refused for what the authority cannot know. */
  noteRefused(hostId: string, address: string | undefined, failure: CodedError): Promise<void>;
  /** What the caller may be, for streams and registrations. */
  authorize(caller: HostCaller): Promise<HostGrant>;
  /** The same for one who was let in before. What ends then is nobody's attempt, as when a host has renewed its certificate: it is not noted. */
  recheck(caller: HostCaller): Promise<void>;
  createToken(request: TokenRequest): Promise<CreatedToken>;
  /** A new key and certificate at each call. */
  controlPlaneCertificate(): Promise<ControlPlaneCertificate>;
  trustBundle(): Promise<TrustBundle>;
  hosts(): Promise<HostView[]>;
  /** Nothing is issued for it any more; idempotent. Rejects with `MESH_HOST_UNKNOWN`. */
  revokeHost(hostId: string, reason?: string): Promise<void>;
  /** @param last how many of each writer's entries; the chains are verified as a whole either way */
  journal(last?: number): Promise<JournalReport>;
  /** What was wrong with the chains when they were verified last: at the start, every hour, and by `journal`. */
  journalProblems(): readonly string[];
}

const maxAttempts = 4;
const maxForeignText = 128;
const sameCallerMs = 3_600_000;
/** Reading all tokens for each new one would make a thousand of them a million reads. */
const forgetTokensEveryMs = 3_600_000;

/** Opens the authority in the store, or makes it there. Rejects with `MESH_CA_…` or `MESH_STORE_…`. */
export async function createCertificateAuthority(options: CertificateAuthorityOptions): Promise<CertificateAuthority> {
  const { store, clock, config, logger, resolveGroup } = options;
  const { authority, journal, end } = await openWithJournal(options);
  const { trustDomain, rootFingerprint, stateKey } = authority;
  const refusals = noteRefusals({ journal, clock, logger, perMinute: config.refusalsPerMinute });
  const audit = startJournalAudit({ store, clock, stateKey, keyFile: config.keyFile, writer: config.replica, end, logger });
  const callers = rememberRefusals(clock, sameCallerMs);
  let forgotTokensAtMs = Number.NEGATIVE_INFINITY;
  if (authority.isNew) logger.info({ trustDomain, rootFingerprint }, "created the certificate authority");

  /** Runs it; a refusal goes into the journal and on to the caller. */
  async function orRefuse<T>(type: "join-refused" | "certificate-refused", facts: JournalEvent["facts"], work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (failure) {
      if (failure instanceof CodedError) await refusals.note(type, facts, failure);
      throw failure;
    }
  }

  /** As `orRefuse`, for calls that an agent repeats for as long as it lives. */
  async function orTurnAway<T>(address: string | undefined, facts: Readonly<Record<string, string>>, work: () => Promise<T> | T): Promise<T> {
    try {
      return await work();
    } catch (failure) {
      if (failure instanceof CodedError && isAboutCaller(failure)) await noteCaller(address, facts, failure);
      throw failure;
    }
  }

  async function noteCaller(address = "", facts: Readonly<Record<string, string>>, failure: CodedError): Promise<void> {
    const { code, message } = failure;
    if (callers.isNews(JSON.stringify([code, message, peerNetwork(address), facts]))) await refusals.note("caller-refused", { peer: address, ...facts }, failure);
  }

  async function trustBundle(): Promise<TrustBundle> {
    const bundle = await readTrustBundle(store);
    if (bundle === undefined) throw caError("MESH_CA_STATE_DAMAGED", "the authority is gone from the store");
    return bundle;
  }

  async function signForWorkload(caller: HostCaller, group: string, csr: Uint8Array): Promise<IssuedCertificate | undefined> {
    const grant = await authorizeHost(store, caller);
    const certificate = mintWorkloadCertificate(authority, config, {
      grant: grant.record,
      group,
      resolveGroup,
      readCsr: () => readCsr(csr),
      nowMs: clock.now(),
    });
    const { spiffeId, serial } = certificate;
    // Compared with the grant: what was revoked in between is not handed out.
    const isCommitted = await journal.append(
      { type: "certificate-issued", facts: { hostId: caller.hostId, group, spiffeId, serial } },
      { comparisons: [{ key: hostKey(caller.hostId), revision: grant.revision }], operations: [] },
    );
    return isCommitted ? certificate : undefined;
  }

  async function renew(caller: HostCaller, csrBytes: Uint8Array): Promise<RenewReply | undefined> {
    const grant = await authorizeHost(store, caller);
    const csr = readCsr(csrBytes);
    const certificate = mintHostCertificate(authority, config, caller.hostId, csr, clock.now());
    const { spiffeId, serial } = certificate;
    const key = hostKey(caller.hostId);
    const isCommitted = await journal.append(
      { type: "certificate-issued", facts: { hostId: caller.hostId, spiffeId, serial, spkiSha256: csr.spkiSha256 } },
      {
        comparisons: [{ key, revision: grant.revision }],
        operations: [{ type: "put", key, value: JSON.stringify(rebindGrant(grant.record, caller, csr.spkiSha256)) }],
      },
    );
    return isCommitted ? { certificate, trustBundle: await trustBundle() } : undefined;
  }

  async function revoke(hostId: string, reason: string): Promise<true | undefined> {
    const grant = await readGrant(store, hostId);
    if (grant === undefined) throw caError("MESH_HOST_UNKNOWN", `no host ${foreignText(hostId)} is enrolled`);
    if (grant.record.revoked !== undefined) return true;
    const key = hostKey(hostId);
    const revoked: HostGrant = { ...grant.record, revoked: { atMs: clock.now(), reason } };
    const isCommitted = await journal.append(
      { type: "host-revoked", facts: { hostId, reason } },
      { comparisons: [{ key, revision: grant.revision }], operations: [{ type: "put", key, value: JSON.stringify(revoked) }] },
    );
    return isCommitted ? true : undefined;
  }

  function viewHost(grant: HostGrant): HostView {
    const identities = grant.groups.flatMap((group) => {
      const id = groupIdentity(trustDomain, group, resolveGroup);
      return id.ok ? [{ group, spiffeId: formatSpiffeId(id.value) }] : [];
    });
    return { ...grant, identities };
  }

  return {
    trustDomain,
    rootFingerprint,

    join(request, { address }) {
      const reportedName = foreignText(request.hostName);
      return orRefuse("join-refused", { peer: address, reportedName }, async () => {
        const attempt = { token: request.token, readCsr: () => readCsr(request.csr), reportedName, peer: address, nowMs: clock.now() };
        const { hostId, certificate } = await joinHost({ store, authority, config, journal }, attempt);
        logger.info({ hostId, peer: address }, "a host joined");
        return { hostId, certificate, trustBundle: await trustBundle() };
      });
    },

    renewHost: (caller, csr) => orRefuse("certificate-refused", callerFacts(caller), () => untilCommitted(() => renew(caller, csr))),

    signWorkload: (caller, group, csr) =>
      orRefuse("certificate-refused", { ...callerFacts(caller), group: foreignText(group) }, () =>
        untilCommitted(() => signForWorkload(caller, group, csr)),
      ),

    identify: (peer) => orTurnAway(peer.remoteAddress, {}, () => callingHost(peer, trustDomain)),

    async noteUnverified({ remoteAddress, certificate, failure }) {
      const facts = { certificate: foreignText(certificate.subjectAltName ?? ""), notAfter: certificate.validToDate.toISOString() };
      await noteCaller(remoteAddress, facts, caError("MESH_CALLER_NOT_VERIFIED", `the client certificate does not verify: ${failure}`));
    },

    noteRefused: (hostId, address, failure) => noteCaller(address, { hostId: foreignText(hostId) }, failure),

    recheck: async (caller) => void (await authorizeHost(store, caller)),
    authorize: (caller) => orTurnAway(caller.address, { hostId: foreignText(caller.hostId) }, async () => (await authorizeHost(store, caller)).record),

    async createToken(request) {
      const { created, record } = buildToken(request, rootFingerprint, clock.now());
      const { id, groups } = record;
      const isTimeToForget = clock.elapsed() - forgotTokensAtMs >= forgetTokensEveryMs;
      const forget = isTimeToForget ? await forgetTokens(store, clock.now()) : [];
      // Where there were some there may be more.
      if (isTimeToForget && forget.length === 0) forgotTokensAtMs = clock.elapsed();
      await journal.append(
        { type: "token-created", facts: { tokenId: id, groups, expiresAt: new Date(record.expiresAtMs).toISOString() } },
        { comparisons: [{ key: tokenKey(id), revision: 0 }], operations: [{ type: "put", key: tokenKey(id), value: JSON.stringify(record) }, ...forget] },
      );
      return created;
    },

    async controlPlaneCertificate() {
      const certificate = mintControlPlaneCertificate(authority, config, clock.now());
      const { spiffeId, serial } = certificate;
      await journal.append({ type: "certificate-issued", facts: { spiffeId, serial } });
      return certificate;
    },

    trustBundle,

    async hosts() {
      return (await listGrants(store, (err) => logger.error({ err }, "the grant of a host cannot be read"))).map(viewHost);
    },

    async revokeHost(hostId, reason = "no reason given") {
      await untilCommitted(() => revoke(hostId, foreignText(reason)));
      logger.warn({ hostId }, "a host was revoked");
    },

    journal: (last) => audit.report(last),

    journalProblems: () => audit.problems(),

    async close() {
      await audit.close();
      await refusals.close();
      await journal.close();
    },
  };
}

/** The authority and its journal, whose first entry tells of its creation, in one transaction with it. */
async function openWithJournal({ store, clock, config }: CertificateAuthorityOptions): Promise<{ authority: Authority; journal: Journal; end: JournalEnd }> {
  const writer = config.replica;
  const open = async (stateKey: StateKey, isNewAuthority: boolean): Promise<{ journal: Journal; end: JournalEnd }> => {
    const end = await openJournalEnd({ store, clock, stateKey, keyFile: config.keyFile, writer, isNewAuthority });
    return { end, journal: openJournal({ store, clock, stateKey, writer, end }) };
  };
  let opened: { journal: Journal; end: JournalEnd } | undefined;
  const authority = await openAuthority(store, clock, config, async ({ stateKey, facts, condition }) => {
    opened = await open(stateKey, true);
    return opened.journal.append({ type: "authority-created", facts }, condition);
  });
  return { authority, ...(opened ?? (await open(authority.stateKey, false))) };
}

/** Tries again while somebody else changes the same records. */
async function untilCommitted<T>(attempt: () => Promise<T | undefined>): Promise<T> {
  for (let count = 0; count < maxAttempts; count += 1) {
    const result = await attempt();
    if (result !== undefined) return result;
  }
  throw caError("MESH_CA_BUSY", "the host's records changed again and again");
}

function callerFacts({ hostId, address }: HostCaller): Record<string, string> {
  return { hostId: foreignText(hostId), ...(address === undefined ? {} : { peer: address }) };
}

/** A store that is busy is no refusal of anybody. */
function isAboutCaller({ code }: CodedError): boolean {
  return code.startsWith("MESH_CALLER_") || code.startsWith("MESH_HOST_");
}

function readCsr(der: Uint8Array): VerifiedCsr {
  const csr = verifyCsr(der);
  if (!csr.ok) throw caError("MESH_CSR_INVALID", csr.error);
  return csr.value;
}

/** It ends in logs, terminals and the journal. */
function foreignText(text: string): string {
  return printable(text, maxForeignText);
}
