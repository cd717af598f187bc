import { createHash } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";

import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/logger.ts";
import { SecretBytes } from "../base/secret-bytes.ts";
import type { Closable } from "../base/task-group.ts";
import { buildCsr } from "../base/x509/csr.ts";
import { generatePrivateKey, privateKeyPem } from "../base/x509/key.ts";
import { decodePem } from "../base/x509/pem.ts";
import { classOf, formatSpiffeId } from "../model/identity.ts";
import type { AgentService } from "./agent-service.ts";
import { readHeldCertificate } from "./certificate.ts";
import type { HeldCertificate } from "./certificate.ts";
import { badCertificate, rootsDer } from "./host-identity.ts";
import type { HostIdentity } from "./host-identity.ts";
import { findWrongTimes, keepRenewed, renewalState } from "./renewal.ts";
import type { Renewal, RenewalState } from "./renewal.ts";
import { keepWritten } from "./retried-write.ts";
import type { RetriedWrite } from "./retried-write.ts";
import { readStateFile, writeStateFile } from "./state-file.ts";

export interface WorkloadCertificatesOptions {
  readonly stateDir: string;
  /** `NAMESPACE/NAME` of each group that a workload of this host belongs to. */
  readonly groups: readonly string[];
  readonly identity: () => HostIdentity;
  readonly service: Pick<AgentService, "signWorkload">;
  readonly clock: Clock;
  readonly logger: Logger;
  /** A group has a new certificate: at start for those on disk, later for each renewal. */
  readonly onCertificate: (group: string, certificate: HeldCertificate) => void;
}

/** The certificates of the host's workloads, kept valid until closed. */
export interface WorkloadCertificates extends Closable {
  get(group: string): HeldCertificate | undefined;
  /** Each group's, and beside it the one of the identity that the group had before, while that is valid. */
  all(): readonly HeldCertificate[];
  /** Which SPIFFE ID each group is to have: one whose certificate is for another gets a new one at once. */
  expect(identities: ReadonlyMap<string, string>): void;
  /** Groups whose certificate is missing or for another identity than the expected one. */
  missing(): readonly string[];
  states(): ReadonlyMap<string, RenewalState>;
  poke(): void;
}

const FORMAT = 1;

/**
 * Loads what is on disk and keeps every group's certificate renewed. The last
 * certificate stays in use while the control plane is away. Keys are made here,
 * one for each certificate, and never leave the host.
 */
export async function holdWorkloadCertificates(options: WorkloadCertificatesOptions): Promise<WorkloadCertificates> {
  const { stateDir, identity, service, clock, logger, onCertificate } = options;
  const folder = join(stateDir, "workloads");
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const held = new Map<string, HeldCertificate>();
  const former = new Map<string, HeldCertificate>();
  const files: RetriedWrite[] = [];
  const renewals = new Map<string, Renewal>();
  let expected: ReadonlyMap<string, string> = new Map();
  const groups = [...new Set(options.groups)];

  const isOutdated = (group: string): boolean => {
    const certificate = held.get(group);
    return certificate !== undefined && (expected.get(group) ?? formatSpiffeId(certificate.spiffeId)) !== formatSpiffeId(certificate.spiffeId);
  };
  const take = (group: string, certificate: HeldCertificate): void => {
    const before = held.get(group);
    // Listeners and connections that still ask for the identity of before are served until they are replaced.
    if (before !== undefined && formatSpiffeId(before.spiffeId) !== formatSpiffeId(certificate.spiffeId)) former.set(group, before);
    held.set(group, certificate);
    onCertificate(group, certificate);
  };
  for (const group of groups) {
    const stored = await readStateFile(fileOf(folder, group), (content) => parseStored(content, group, identity()), logger);
    if (stored !== undefined) take(group, stored);
  }
  for (const group of groups) {
    const file = keepWritten({
      what: `the certificate of ${group}`,
      async write() {
        const certificate = held.get(group);
        if (certificate !== undefined) await writeStateFile(fileOf(folder, group), { format: FORMAT, group, chain: certificate.chain, privateKey: certificate.privateKey.revealText() });
      },
      clock,
      logger,
    });
    files.push(file);
    renewals.set(
      group,
      keepRenewed({
        what: `the certificate of ${group}`,
        current: () => held.get(group),
        isOutdated: () => isOutdated(group),
        clock,
        logger: logger.child({ group }),
        async renew() {
          const key = generatePrivateKey();
          const privateKey = privateKeyPem(key);
          const reply = await service.signWorkload(group, buildCsr(key));
          const checked = checkWorkload(reply.certificateChain, privateKey, group, identity());
          if (typeof checked === "string") throw badCertificate(checked);
          const wrong = findWrongTimes(checked, held.get(group), clock.now());
          if (wrong !== undefined) throw badCertificate(wrong);
          // In use first: a disk that takes nothing must not let a certificate expire that was renewed.
          take(group, checked);
          await file.request();
        },
      }),
    );
  }
  return {
    get: (group) => held.get(group),
    all: () => [...[...former.values()].filter(({ notAfterMs }) => clock.now() < notAfterMs), ...held.values()],
    expect(identities) {
      const before = expected;
      expected = identities;
      for (const [group, renewal] of renewals) if (isOutdated(group) && before.get(group) !== identities.get(group)) renewal.poke();
    },
    missing: () => groups.filter((group) => held.get(group) === undefined || isOutdated(group)),
    states: () => new Map(groups.map((group) => [group, renewalState(held.get(group), clock.now())])),
    poke: () => {
      for (const renewal of renewals.values()) renewal.poke();
    },
    async close() {
      for (const renewal of renewals.values()) await renewal.close();
      for (const file of files) await file.close();
    },
  };
}

/** A group's namespace is the namespace of its identity; the authority chooses the service account. */
function checkWorkload(chain: readonly Uint8Array[], privateKey: SecretBytes, group: string, host: HostIdentity): HeldCertificate | string {
  const checked = readHeldCertificate(chain, privateKey, rootsDer(host.roots));
  if (!checked.ok) return checked.error;
  const identity = classOf(checked.value.spiffeId);
  const namespace = group.slice(0, group.indexOf("/"));
  if (identity?.kind !== "workload") return "it is not a workload's";
  if (identity.trustDomain !== host.trustDomain || identity.namespace !== namespace) return `it is for ${identity.trustDomain}/${identity.namespace}, the group is ${group}`;
  return checked.value;
}

function parseStored(content: unknown, group: string, host: HostIdentity): HeldCertificate {
  const stored = content as { format?: number; group: string; chain: string; privateKey: string };
  if (stored.format !== FORMAT || stored.group !== group) throw new Error("it is of another format or group");
  const chain = decodePem("CERTIFICATE", stored.chain);
  if (!chain.ok) throw new Error(chain.error);
  const checked = checkWorkload(chain.value, new SecretBytes(stored.privateKey), group, host);
  if (typeof checked === "string") throw new Error(checked);
  return checked;
}

function fileOf(folder: string, group: string): string {
  // `a/b-c` and `a-b/c` must not share a file.
  const suffix = createHash("sha256").update(group).digest("hex").slice(0, 8);
  return join(folder, `${group.replace("/", "_")}-${suffix}.json`);
}
