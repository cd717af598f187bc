import { join } from "node:path";

import { CodedError } from "../base/coded-error.ts";
import type { Logger } from "../base/logger.ts";
import { SecretBytes } from "../base/secret-bytes.ts";
import { decodePem } from "../base/x509/pem.ts";
import { classOf, hostIdentity, isHostId, isMeshTrustDomain, formatSpiffeId } from "../model/identity.ts";
import { certificatesPem, readHeldCertificate } from "./certificate.ts";
import type { HeldCertificate } from "./certificate.ts";
import { readStateFile, writeStateFile } from "./state-file.ts";

/** Who this host is in the mesh, and whom it trusts. */
export interface HostIdentity {
  readonly hostId: string;
  readonly trustDomain: string;
  readonly certificate: HeldCertificate;
  /** The roots of the trust domain, PEM. Never empty. */
  readonly roots: readonly string[];
}

const FORMAT = 1;

/** One file holds key, certificate and roots: no crash leaves a key without its certificate. */
function identityPath(stateDir: string): string {
  return join(stateDir, "host.json");
}

export async function loadHostIdentity(stateDir: string, logger: Logger): Promise<HostIdentity | undefined> {
  return readStateFile(identityPath(stateDir), parseStored, logger);
}

export async function storeHostIdentity(stateDir: string, identity: HostIdentity): Promise<void> {
  const { hostId, trustDomain, certificate, roots } = identity;
  await writeStateFile(identityPath(stateDir), {
    format: FORMAT,
    hostId,
    trustDomain,
    roots,
    chain: certificate.chain,
    privateKey: certificate.privateKey.revealText(),
  });
}

/**
 * Judges what the authority issued to this host.
 *
 * @param chain DER, leaf first
 * @param bundle DER, the roots as the authority names them now
 * @param trusted DER, the roots that this host already trusts: the chain must end in one of those
 * @throws CodedError MESH_BAD_CERTIFICATE
 */
export function hostIdentityOf(
  issued: { readonly hostId: string; readonly trustDomain: string; readonly chain: readonly Uint8Array[]; readonly bundle: readonly Uint8Array[] },
  privateKey: SecretBytes,
  trusted: readonly Uint8Array[],
): HostIdentity {
  const { hostId, trustDomain, chain, bundle } = issued;
  if (!isHostId(hostId) || !isMeshTrustDomain(trustDomain)) throw badCertificate("it gave no usable host id or trust domain");
  if (bundle.length === 0) throw badCertificate("its trust bundle is empty");
  const held = readHeldCertificate(chain, privateKey, trusted);
  if (!held.ok) throw badCertificate(held.error);
  const expected = formatSpiffeId(hostIdentity(trustDomain, hostId));
  const actual = formatSpiffeId(held.value.spiffeId);
  if (actual !== expected) throw badCertificate(`it is for ${actual}, this host is ${expected}`);
  return { hostId, trustDomain, certificate: held.value, roots: certificatesPem(bundle) };
}

export function badCertificate(reason: string): CodedError {
  return new CodedError("MESH_BAD_CERTIFICATE", `the control plane issued a certificate that cannot be used: ${reason}`, {
    hint: "the certificate authority and this host disagree: look at the authority's journal",
  });
}

/** The DER of PEM roots. @throws Error where one is damaged */
export function rootsDer(roots: readonly string[]): readonly Buffer[] {
  return roots.flatMap((pem) => {
    const der = decodePem("CERTIFICATE", pem);
    if (!der.ok) throw new Error(der.error);
    return [...der.value];
  });
}

function parseStored(content: unknown): HostIdentity {
  const stored = content as { format?: number; hostId: string; trustDomain: string; roots: readonly string[]; chain: string; privateKey: string };
  if (stored.format !== FORMAT) throw new Error(`format ${stored.format} is not ${FORMAT}`);
  const chain = decodePem("CERTIFICATE", stored.chain);
  if (!chain.ok) throw new Error(chain.error);
  const roots = rootsDer(stored.roots);
  const held = readHeldCertificate(chain.value, new SecretBytes(stored.privateKey), roots);
  if (!held.ok) throw new Error(held.error);
  const identity = classOf(held.value.spiffeId);
  if (identity?.kind !== "host" || identity.hostId !== stored.hostId || identity.trustDomain !== stored.trustDomain) {
    throw new Error("the certificate is not this host's");
  }
  return { hostId: stored.hostId, trustDomain: stored.trustDomain, roots: stored.roots, certificate: held.value };
}
