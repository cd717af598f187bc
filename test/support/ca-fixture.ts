import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { CodedError } from "../../base/coded-error.ts";
import { silentLogger } from "../../base/logger.ts";
import { buildCsr } from "../../base/x509/csr.ts";
import { generatePrivateKey, publicKeySpki, spkiSha256 } from "../../base/x509/key.ts";
import { caConfigSchema } from "../../ca/config.ts";
import type { CaConfig } from "../../ca/config.ts";
import type { CaErrorCode } from "../../ca/errors.ts";
import type { HostCaller } from "../../ca/grant.ts";
import type { IssuedCertificate } from "../../ca/leaf.ts";
import { createCertificateAuthority } from "../../ca/service.ts";
import type { CertificateAuthority } from "../../ca/service.ts";
import type { GroupIdentity } from "../../ca/workload-certificate.ts";
import { createMemoryStore } from "../../store/memory.ts";
import type { KeyValueStore } from "../../store/key-value.ts";
import { createManualClock } from "./manual-clock.ts";
import type { ManualClock } from "./manual-clock.ts";

/** An authority over a store in memory, with a clock of its own and two WorkloadGroups. */
export interface CaFixture {
  readonly store: KeyValueStore;
  readonly clock: ManualClock;
  readonly config: CaConfig;
  readonly groups: Map<string, GroupIdentity>;
  readonly ca: CertificateAuthority;
  /** Another replica on the same store. */
  openReplica(overrides: Partial<CaConfig>): Promise<CertificateAuthority>;
  close(): Promise<void>;
}

export async function openCaFixture(overrides: Partial<CaConfig> = {}): Promise<CaFixture> {
  const folder = mkdtempSync(join(tmpdir(), "ironmesh-ca-"));
  const store = createMemoryStore();
  const clock = createManualClock();
  const groups = new Map<string, GroupIdentity>([
    ["shop/web", { namespace: "shop", serviceAccount: "web-account" }],
    ["shop/db", { namespace: "shop", serviceAccount: "db" }],
  ]);
  const config = { ...caConfigSchema.parse({ keyFile: join(folder, "state.key") }), ...overrides };
  const opened: CertificateAuthority[] = [];

  async function open(replicaOverrides: Partial<CaConfig>): Promise<CertificateAuthority> {
    const options = { store, clock, config: { ...config, ...replicaOverrides }, logger: silentLogger, resolveGroup: (group: string) => groups.get(group) };
    const ca = await createCertificateAuthority(options);
    opened.push(ca);
    return ca;
  }

  return {
    store,
    clock,
    config,
    groups,
    ca: await open({}),
    openReplica: open,
    async close() {
      for (const ca of opened) await ca.close();
      await store.close();
      rmSync(folder, { recursive: true });
    },
  };
}

/** A host's side of the wire. */
export interface TestKey {
  readonly privateKey: KeyObject;
  readonly csr: Buffer;
  readonly spkiSha256: string;
}

export function newKey(): TestKey {
  const privateKey = generatePrivateKey();
  return { privateKey, csr: buildCsr(privateKey), spkiSha256: spkiSha256(publicKeySpki(privateKey)) };
}

/** A host that has joined with a token for these groups. */
export interface EnrolledHost extends HostCaller {
  readonly key: TestKey;
  readonly token: string;
  readonly certificate: IssuedCertificate;
}

export async function enrolHost(ca: CertificateAuthority, groups: readonly string[], hostName?: string): Promise<EnrolledHost> {
  const created = await ca.createToken({ groups: [...groups], ...(hostName === undefined ? {} : { hostName }) });
  const key = newKey();
  const token = created.token.revealText();
  const { hostId, certificate } = await ca.join({ token, csr: key.csr, hostName: "as it calls itself" }, { address: "192.0.2.1" });
  return { hostId, spkiSha256: key.spkiSha256, key, token, certificate };
}

export function readLeaf({ chain }: IssuedCertificate): X509Certificate {
  const [leaf] = chain;
  assert.ok(leaf);
  return new X509Certificate(leaf);
}

/** Passes where the work is refused with exactly this code. */
export async function assertRefused(work: Promise<unknown>, code: CaErrorCode): Promise<void> {
  await assert.rejects(work, (error) => {
    assert.ok(error instanceof CodedError, String(error));
    assert.equal(error.code, code, error.message);
    return true;
  });
}
