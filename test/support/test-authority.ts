import { encodePem } from "../../base/x509/pem.ts";
import { generatePrivateKey, privateKeyPem, publicKeySpki } from "../../base/x509/key.ts";
import { randomSerial, readIssuer, signCertificate, signRootCertificate } from "../../base/x509/certificate.ts";
import type { DistinguishedName, SubjectAlternativeName } from "../../base/x509/certificate.ts";
import type { SecretBytes } from "../../base/secret-bytes.ts";

/** A certificate with its key, as a TLS side wants them. */
export interface TestIdentity {
  /** PEM. */
  readonly certificateChain: string;
  readonly privateKey: SecretBytes;
}

/** A throw-away root that mints certificates for tests. */
export interface TestAuthority {
  /** PEM. */
  readonly root: string;
  /** A leaf with this SPIFFE ID as its only name, valid from an hour ago for `lifeMs` from now (an hour unless told). */
  mint(spiffeId: string, lifeMs?: number): TestIdentity;
  /** A leaf for somebody who is known by a common name alone, valid for an hour. */
  mintUser(commonName: string): TestIdentity;
  /** A leaf of a server, or of a client, of this DNS name. */
  mintNamed(dnsName: string): TestIdentity;
}

const HOUR_MS = 3_600_000;

export function createTestAuthority(organization = "test"): TestAuthority {
  const rootKey = generatePrivateKey();
  const now = Date.now();
  const root = signRootCertificate(
    {
      serial: randomSerial(),
      subject: { organization },
      notBeforeMs: now - HOUR_MS,
      notAfterMs: now + 24 * HOUR_MS,
      spki: publicKeySpki(rootKey),
      names: [],
      keyUsage: ["keyCertSign", "crlSign"],
      extendedKeyUsage: [],
      authority: { maxPathLength: 1 },
    },
    rootKey,
  );
  const issuer = readIssuer(root, rootKey);
  if (issuer === undefined) throw new Error("the root cannot be read back");
  const leaf = (subject: DistinguishedName, names: readonly SubjectAlternativeName[], lifeMs: number): TestIdentity => {
    const key = generatePrivateKey();
    const certificate = signCertificate(
      {
        serial: randomSerial(),
        subject,
        notBeforeMs: now - HOUR_MS,
        notAfterMs: Date.now() + lifeMs,
        spki: publicKeySpki(key),
        names,
        keyUsage: ["digitalSignature"],
        extendedKeyUsage: ["serverAuth", "clientAuth"],
      },
      issuer,
    );
    return { certificateChain: encodePem("CERTIFICATE", certificate), privateKey: privateKeyPem(key) };
  };
  return {
    root: encodePem("CERTIFICATE", root),
    mint: (spiffeId, lifeMs = HOUR_MS) => leaf({ organization }, [{ type: "uri", value: spiffeId }], lifeMs),
    mintUser: (commonName) => leaf({ organization, commonName }, [], HOUR_MS),
    mintNamed: (dnsName) => leaf({ organization }, [{ type: "dns", value: dnsName }], HOUR_MS),
  };
}
