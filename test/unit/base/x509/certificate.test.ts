import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createPrivateKey, generateKeyPairSync, X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "mocha";

import { randomSerial, readIssuer, signCertificate, signRootCertificate } from "../../../../base/x509/certificate.ts";
import type { CertificateContent } from "../../../../base/x509/certificate.ts";
import { generatePrivateKey, parsePrivateKeyPem, privateKeyPem, publicKeySpki, spkiSha256 } from "../../../../base/x509/key.ts";
import { encodePem } from "../../../../base/x509/pem.ts";
import { findPinnedRoot } from "../../../../base/x509/pinned-root.ts";

const nowMs = Date.UTC(2026, 0, 2, 3, 4, 5);
const dayMs = 86_400_000;

function rootContent(spki: Uint8Array): CertificateContent {
  return {
    serial: randomSerial(),
    subject: { organization: "Ironmesh", commonName: "mesh root" },
    notBeforeMs: nowMs,
    // Beyond 2049, where the encoding of a time changes.
    notAfterMs: Date.UTC(2055, 5, 6, 7, 8, 9),
    spki,
    names: [{ type: "uri", value: "spiffe://mesh.internal" }],
    keyUsage: ["keyCertSign", "crlSign"],
    extendedKeyUsage: [],
    authority: { maxPathLength: 1 },
  };
}

function leafContent(spki: Uint8Array): CertificateContent {
  return {
    serial: randomSerial(),
    subject: { organization: "Ironmesh" },
    notBeforeMs: nowMs,
    notAfterMs: nowMs + dayMs,
    spki,
    names: [
      { type: "uri", value: "spiffe://mesh.internal/ns/default/sa/web" },
      { type: "dns", value: "web-1.host.mesh.internal" },
    ],
    keyUsage: ["digitalSignature"],
    extendedKeyUsage: ["serverAuth", "clientAuth"],
  };
}

describe("certificate", () => {
  const rootKey = generatePrivateKey();
  const root = signRootCertificate(rootContent(publicKeySpki(rootKey)), rootKey);
  const issuer = readIssuer(root, rootKey);
  assert.ok(issuer);
  const leafKey = generatePrivateKey();
  const leaf = signCertificate(leafContent(publicKeySpki(leafKey)), issuer);
  let folder: string;

  before(() => {
    folder = mkdtempSync(join(tmpdir(), "ironmesh-x509-"));
    writeFileSync(join(folder, "root.pem"), encodePem("CERTIFICATE", root));
    writeFileSync(join(folder, "leaf.pem"), encodePem("CERTIFICATE", leaf));
  });
  after(() => rmSync(folder, { recursive: true }));

  function openssl(...options: string[]): string {
    return execFileSync("openssl", options, { cwd: folder, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  }

  function verifyAt(epochMs: number): string {
    return openssl("verify", "-attime", String(epochMs / 1000), "-CAfile", "root.pem", "leaf.pem");
  }

  it("is a chain that openssl verifies, strictly, for both purposes", () => {
    const at = String((nowMs + dayMs / 2) / 1000);
    for (const purpose of ["sslclient", "sslserver"]) {
      const said = openssl("verify", "-x509_strict", "-purpose", purpose, "-attime", at, "-CAfile", "root.pem", "leaf.pem");
      assert.match(said, /leaf\.pem: OK/);
    }
  });

  it("expires for openssl when it says so", () => {
    assert.match(verifyAt(nowMs), /OK/);
    assert.match(verifyAt(nowMs + dayMs - 1000), /OK/);
    assert.throws(() => verifyAt(nowMs + dayMs + 1000), /expired/);
    assert.throws(() => verifyAt(nowMs - 1000), /not yet valid/);
  });

  it("says everything in openssl's words", () => {
    const text = openssl("x509", "-in", "leaf.pem", "-noout", "-text");
    assert.match(text, /Version: 3/);
    assert.match(text, /Signature Algorithm: ecdsa-with-SHA256/);
    // OpenSSL 3.2 and later writes names without spaces.
    assert.match(text, /Issuer: O ?= ?Ironmesh, CN ?= ?mesh root\n/);
    assert.match(text, /Subject: O ?= ?Ironmesh\n/);
    assert.match(text, /Not Before: Jan {2}2 03:04:05 2026 GMT/);
    assert.match(text, /Key Usage: critical\n\s+Digital Signature\n/);
    assert.match(text, /Basic Constraints: critical\n\s+CA:FALSE\n/);
    assert.match(text, /TLS Web Server Authentication, TLS Web Client Authentication\n/);
    assert.match(text, /URI:spiffe:\/\/mesh\.internal\/ns\/default\/sa\/web, DNS:web-1\.host\.mesh\.internal\n/);
    const keyName = spkiSha256(publicKeySpki(rootKey)).toUpperCase().replaceAll(/(..)(?=.)/g, "$1:");
    assert.ok(text.includes(`Authority Key Identifier: \n                ${keyName}\n`), text);
    const rootText = openssl("x509", "-in", "root.pem", "-noout", "-text");
    assert.match(rootText, /Not After : Jun {2}6 07:08:09 2055 GMT/);
    assert.match(rootText, /Certificate Sign, CRL Sign\n/);
    assert.match(rootText, /CA:TRUE, pathlen:1\n/);
  });

  it("is what Node reads", () => {
    const [read, readRoot] = [new X509Certificate(leaf), new X509Certificate(root)];
    assert.ok(read.verify(readRoot.publicKey));
    assert.ok(read.checkIssued(readRoot));
    assert.ok(read.checkPrivateKey(leafKey));
    assert.equal(read.subjectAltName, "URI:spiffe://mesh.internal/ns/default/sa/web, DNS:web-1.host.mesh.internal");
    assert.deepEqual([read.ca, readRoot.ca], [false, true]);
    assert.equal(read.validToDate.getTime(), nowMs + dayMs);
  });

  it("takes the keys of other kinds too", () => {
    for (const { publicKey } of [generateKeyPairSync("ec", { namedCurve: "P-384" }), generateKeyPairSync("rsa", { modulusLength: 2048 })]) {
      const certificate = new X509Certificate(signCertificate(leafContent(publicKeySpki(publicKey)), issuer));
      assert.ok(certificate.publicKey.equals(publicKey));
      assert.ok(certificate.verify(new X509Certificate(root).publicKey));
    }
  });

  it("has a positive serial number of 16 bytes that is never the same", () => {
    const serials = Array.from({ length: 1000 }, () => Buffer.from(randomSerial()));
    assert.ok(serials.every((serial) => serial.length === 16 && (serial[0] ?? 0) >= 0x40 && (serial[0] ?? 0) < 0x80));
    assert.equal(new Set(serials.map((serial) => serial.toString("hex"))).size, 1000);
  });

  it("reads no issuer from what is not an authority's certificate", () => {
    assert.equal(readIssuer(Buffer.from("hello"), rootKey), undefined);
    assert.equal(readIssuer(publicKeySpki(rootKey), rootKey), undefined);
    assert.equal(readIssuer(root.subarray(0, -1), rootKey), undefined);
  });

  it("keeps a private key in PKCS#8", () => {
    const pem = privateKeyPem(leafKey);
    assert.ok(createPrivateKey(pem.revealText()).equals(leafKey));
    const read = parsePrivateKeyPem(pem);
    assert.ok(read.ok && read.value.equals(leafKey));
    writeFileSync(join(folder, "leaf.key"), pem.revealText());
    assert.match(openssl("pkey", "-in", "leaf.key", "-noout", "-text"), /NIST CURVE: P-256/);
  });

  describe("pinned root", () => {
    const fingerprint = spkiSha256(publicKeySpki(rootKey));

    it("is found among what a peer presents", () => {
      assert.deepEqual(findPinnedRoot([leaf, Buffer.from("junk"), root], fingerprint), root);
    });

    it("is not found by another fingerprint, nor in a leaf", () => {
      assert.equal(findPinnedRoot([leaf, root], spkiSha256(publicKeySpki(leafKey)).replace(/^./, "x")), undefined);
      assert.equal(findPinnedRoot([leaf, root], spkiSha256(publicKeySpki(leafKey))), undefined);
    });

    it("is not a certificate for the pinned key that somebody else signed", () => {
      const strangerKey = generatePrivateKey();
      const forged = signRootCertificate(rootContent(publicKeySpki(rootKey)), strangerKey);
      assert.equal(findPinnedRoot([forged], fingerprint), undefined);
    });
  });
});
