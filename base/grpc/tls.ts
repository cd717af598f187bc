import { constants } from "node:crypto";
import type { SecureContextOptions } from "node:tls";
import type { SecretBytes } from "../secret-bytes.ts";

/** A certificate chain (PEM, leaf first) and its private key (PEM). */
export interface TlsIdentity {
  readonly certificateChain: string;
  readonly privateKey: SecretBytes;
}

/**
 * What both sides of our TLS use: 1.3 only, HTTP/2 only, and no tickets, so
 * that every connection verifies its peer against the roots of that moment.
 */
export function secureContextOptions(identity: TlsIdentity | undefined, roots: readonly string[]): SecureContextOptions {
  return {
    minVersion: "TLSv1.3",
    secureOptions: constants.SSL_OP_NO_TICKET,
    // An empty list means "trust nobody"; an absent one would mean the machine's own roots.
    ca: [...roots],
    ...(identity === undefined
      ? {}
      : { cert: identity.certificateChain, key: Buffer.from(identity.privateKey.reveal()) }),
  };
}
