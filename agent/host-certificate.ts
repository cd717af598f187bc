import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/logger.ts";
import type { Closable } from "../base/task-group.ts";
import { buildCsr } from "../base/x509/csr.ts";
import { generatePrivateKey, privateKeyPem } from "../base/x509/key.ts";
import type { AgentService } from "./agent-service.ts";
import { certificatesPem } from "./certificate.ts";
import { badCertificate, hostIdentityOf, storeHostIdentity } from "./host-identity.ts";
import type { HostIdentity } from "./host-identity.ts";
import { findWrongTimes, keepRenewed, renewalState } from "./renewal.ts";
import type { RenewalState } from "./renewal.ts";
import { keepWritten } from "./retried-write.ts";

export interface HostCertificateOptions {
  readonly initial: HostIdentity;
  readonly stateDir: string;
  readonly service: Pick<AgentService, "renewHost">;
  /** The way back for a host that was off for longer than its certificate lived: a new join token. */
  readonly rejoin: () => Promise<HostIdentity>;
  /** Another certificate or other roots: connections are to be made anew. */
  readonly onChange: (identity: HostIdentity) => void;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** This host's own certificate and roots, kept current on disk and in memory. */
export interface HostCertificate extends Closable {
  current(): HostIdentity;
  state(): RenewalState;
  /** Takes the roots (DER) that the control plane distributes. An empty list is ignored: it would cut the host off. */
  updateRoots(roots: readonly Uint8Array[]): Promise<void>;
  poke(): void;
}

export function holdHostCertificate(options: HostCertificateOptions): HostCertificate {
  const { stateDir, service, rejoin, onChange, clock, logger } = options;
  let identity = options.initial;
  const file = keepWritten({ what: "the identity of this host", write: () => storeHostIdentity(stateDir, identity), clock, logger });
  // In use first: a disk that takes nothing must not let a certificate expire that was renewed.
  const change = async (next: (before: HostIdentity) => HostIdentity): Promise<void> => {
    identity = next(identity);
    onChange(identity);
    await file.request();
  };
  const renewal = keepRenewed({
    what: "the host's certificate",
    current: () => identity.certificate,
    clock,
    logger,
    async renew() {
      if (renewalState(identity.certificate, clock.now()) === "expired") {
        const joined = await rejoin();
        await change(() => joined);
        return;
      }
      const key = generatePrivateKey();
      const reply = await service.renewHost(buildCsr(key));
      const bundle = reply.trustBundle;
      // The call itself was verified against the roots of before, so that its bundle may bring a new root.
      await change((before) => {
        const next = hostIdentityOf({ hostId: before.hostId, trustDomain: before.trustDomain, chain: reply.certificateChain, bundle }, privateKeyPem(key), bundle);
        const wrong = findWrongTimes(next.certificate, before.certificate, clock.now());
        if (wrong !== undefined) throw badCertificate(wrong);
        return next;
      });
    },
  });
  return {
    current: () => identity,
    state: () => renewalState(identity.certificate, clock.now()),
    async updateRoots(roots) {
      const pems = certificatesPem(roots);
      if (pems.length === 0 || pems.join("") === identity.roots.join("")) return;
      await change((before) => ({ ...before, roots: pems }));
      logger.info({ roots: pems.length }, "the roots of the mesh changed");
    },
    poke: () => renewal.poke(),
    async close() {
      await renewal.close();
      await file.close();
    },
  };
}
