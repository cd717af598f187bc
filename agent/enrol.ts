import { readFile, rm } from "node:fs/promises";
import { connect as connectTls } from "node:tls";
import type { DetailedPeerCertificate } from "node:tls";
import { join } from "node:path";

import { CodedError, messageOf } from "../base/coded-error.ts";
import { connectGrpc } from "../base/grpc/client.ts";
import type { ClientTls } from "../base/grpc/client-connection.ts";
import type { Logger } from "../base/logger.ts";
import { SecretBytes } from "../base/secret-bytes.ts";
import { buildCsr } from "../base/x509/csr.ts";
import { generatePrivateKey, parsePrivateKeyPem, privateKeyPem } from "../base/x509/key.ts";
import { findPinnedRoot } from "../base/x509/pinned-root.ts";
import { classOf, parseSpiffeId } from "../model/identity.ts";
import { parseJoinToken } from "../model/join-token.ts";
import type { JoinToken } from "../model/join-token.ts";
import { agentService } from "./agent-service.ts";
import { certificatesPem, uriNames } from "./certificate.ts";
import { AGENT_DEFAULTS } from "./config.ts";
import type { HostPort } from "./config.ts";
import { hostIdentityOf, storeHostIdentity } from "./host-identity.ts";
import type { HostIdentity } from "./host-identity.ts";
import { readStateFile, writeStateFile } from "./state-file.ts";

export interface EnrolOptions {
  readonly stateDir: string;
  readonly controlPlane: readonly HostPort[];
  readonly hostName: string;
  readonly joinTokenFile?: string | undefined;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly logger: Logger;
}

/**
 * Trades the join token for this host's identity, and stores it. The key is on
 * disk before the token is sent: where the answer is lost, the next attempt
 * (also after a crash) repeats the call with the same key and gets it again.
 *
 * @throws CodedError or GrpcError; every failure may be tried again
 */
export async function enrol(options: EnrolOptions): Promise<HostIdentity> {
  const { stateDir, hostName, logger } = options;
  const token = await readToken(options);
  const parsed = parseJoinToken(token.revealText());
  if (!parsed.ok) throw new CodedError("MESH_TOKEN_UNUSABLE", parsed.error, { hint: "copy the whole token that `ironmesh token create` printed" });
  const keyPath = join(stateDir, "join-key.json");
  const privateKey = await joinKey(keyPath, logger);
  const key = parsePrivateKeyPem(privateKey);
  if (!key.ok) throw new Error(key.error);

  const failures: unknown[] = [];
  for (const address of options.controlPlane) {
    try {
      const root = await fetchPinnedRoot(address, parsed.value);
      const client = connectGrpc({ target: address, tls: () => pinnedTls(root) });
      try {
        const reply = await agentService(client).join({ token: token.revealText(), csr: buildCsr(key.value), hostName });
        const identity = hostIdentityOf(
          { hostId: reply.hostId, trustDomain: reply.trustDomain, chain: reply.certificateChain, bundle: reply.trustBundle },
          privateKey,
          [root],
        );
        await storeHostIdentity(stateDir, identity);
        await rm(keyPath, { force: true });
        logger.info({ hostId: identity.hostId, trustDomain: identity.trustDomain, tokenId: parsed.value.id }, "this host joined the mesh");
        return identity;
      } finally {
        await client.close();
      }
    } catch (failure) {
      failures.push(failure);
    }
  }
  if (failures.length === 1) throw failures[0];
  throw new CodedError("MESH_JOIN_FAILED", `no control plane let this host in: ${failures.map(messageOf).join("; ")}`, { cause: new AggregateError(failures) });
}

/** Agents talk only to the control plane's own class of identity. */
export function checkControlPlane(trustDomain: string | undefined): ClientTls["checkServer"] {
  return (certificate) => {
    const uris = uriNames(certificate);
    const id = parseSpiffeId(uris[0] ?? "");
    const identity = id.ok && uris.length === 1 ? classOf(id.value) : undefined;
    if (identity?.kind !== "control-plane") return `its identity is ${uris.join(" ") || "not a SPIFFE ID"}, not a control plane's`;
    if (trustDomain !== undefined && identity.trustDomain !== trustDomain) return `its trust domain is ${identity.trustDomain}, this host's is ${trustDomain}`;
    return undefined;
  };
}

function pinnedTls(root: Uint8Array): ClientTls {
  return { roots: certificatesPem([root]), checkServer: checkControlPlane(undefined) };
}

async function readToken(options: EnrolOptions): Promise<SecretBytes> {
  const { joinTokenFile, environment } = options;
  const fromEnvironment = environment[AGENT_DEFAULTS.tokenVariable];
  if (joinTokenFile === undefined) {
    if (fromEnvironment !== undefined && fromEnvironment !== "") return new SecretBytes(fromEnvironment.trim());
    throw new CodedError("MESH_TOKEN_MISSING", "this host has no identity and no join token", {
      hint: `create one with \`ironmesh token create\`, put it into a file of mode 0600 and name that file as joinTokenFile, or set ${AGENT_DEFAULTS.tokenVariable}`,
    });
  }
  try {
    return new SecretBytes((await readFile(joinTokenFile, "utf8")).trim());
  } catch (cause) {
    throw new CodedError("MESH_TOKEN_MISSING", `cannot read the join token: ${messageOf(cause)}`, { cause, facts: { joinTokenFile }, hint: "a token that was used may be deleted; a new host needs a new one" });
  }
}

async function joinKey(path: string, logger: Logger): Promise<SecretBytes> {
  const stored = await readStateFile(path, parseStoredKey, logger);
  if (stored !== undefined) return stored;
  const fresh = privateKeyPem(generatePrivateKey());
  await writeStateFile(path, { format: 1, privateKey: fresh.revealText() });
  return fresh;
}

function parseStoredKey(content: unknown): SecretBytes {
  const pem = new SecretBytes((content as { privateKey: string }).privateKey);
  const key = parsePrivateKeyPem(pem);
  if (!key.ok) throw new Error(key.error);
  return pem;
}

const PROBE_TIMEOUT_MS = 10_000;

/**
 * Asks an address for its chain without believing any of it, and picks the root
 * that the token names. Nothing is sent on this connection.
 *
 * @returns DER
 */
async function fetchPinnedRoot(address: HostPort, token: JoinToken): Promise<Buffer> {
  const presented = await new Promise<readonly Uint8Array[]>((resolve, reject) => {
    const socket = connectTls({ ...address, ALPNProtocols: ["h2"], minVersion: "TLSv1.3", rejectUnauthorized: false, timeout: PROBE_TIMEOUT_MS });
    const fail = (cause: Error): void => {
      socket.destroy();
      reject(new CodedError("MESH_CONNECT_FAILED", `cannot reach the control plane at ${address.host}:${address.port}: ${cause.message}`, { cause, hint: "is it running, and does a firewall let port 15012 through?" }));
    };
    socket.once("error", fail);
    socket.once("timeout", () => fail(new Error(`no answer within ${PROBE_TIMEOUT_MS} ms`)));
    socket.once("secureConnect", () => {
      resolve(chainOf(socket.getPeerCertificate(true)));
      socket.destroy();
    });
  });
  const root = findPinnedRoot(presented, token.rootFingerprint);
  if (root !== undefined) return root;
  throw new CodedError("MESH_SERVER_NOT_TRUSTED", `${address.host}:${address.port} does not present the root that the join token names`, {
    facts: { fingerprint: token.rootFingerprint },
    hint: "the token belongs to another mesh, or somebody stands between this host and the control plane",
  });
}

function chainOf(certificate: DetailedPeerCertificate): readonly Uint8Array[] {
  const chain: Uint8Array[] = [];
  let current: DetailedPeerCertificate | undefined = certificate;
  // Node links a root to itself.
  while (current?.raw !== undefined && chain.length < 10) {
    chain.push(current.raw);
    current = current.issuerCertificate === current ? undefined : current.issuerCertificate;
  }
  return chain;
}
