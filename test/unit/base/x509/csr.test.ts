import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { after, before, describe, it } from "mocha";

import { buildCsr, maxCsrBytes, verifyCsr } from "../../../../base/x509/csr.ts";
import { decodeDer, encodeNode } from "../../../../base/x509/der.ts";
import { generatePrivateKey, publicKeySpki, spkiSha256 } from "../../../../base/x509/key.ts";

function reasonOf(der: Uint8Array): string {
  const result = verifyCsr(der);
  assert.ok(!result.ok, "accepted");
  return result.error;
}

describe("certificate signing request", () => {
  const key = generatePrivateKey();
  const csr = buildCsr(key);
  let folder: string;
  before(() => (folder = mkdtempSync(join(tmpdir(), "ironmesh-csr-"))));
  after(() => rmSync(folder, { recursive: true }));

  /** A request from openssl, so that the reader is not only held against our own writer. */
  function opensslCsr(name: string, ...options: string[]): Buffer {
    const out = join(folder, `${name}.csr`);
    const standard = ["req", "-new", "-nodes", "-keyout", join(folder, `${name}.key`), "-outform", "DER", "-out", out];
    execFileSync("openssl", [...standard, "-subj", "/C=DE/O=Somebody/CN=spiffe:--other", ...options], { stdio: "ignore" });
    return readFileSync(out);
  }

  it("gives the key of its sender", () => {
    const result = verifyCsr(csr);
    assert.ok(result.ok);
    assert.deepEqual(result.value.spki, publicKeySpki(key));
    assert.equal(result.value.spkiSha256, spkiSha256(publicKeySpki(key)));
    assert.deepEqual(Object.keys(result.value).toSorted(), ["spki", "spkiSha256"]);
  });

  it("is one that openssl verifies", () => {
    const said = execFileSync("openssl", ["req", "-inform", "DER", "-verify", "-noout", "-text"], { input: csr, encoding: "utf8", stdio: ["pipe", "pipe", "pipe"] });
    assert.match(said, /ASN1 OID: prime256v1/);
  });

  const accepted: Readonly<Record<string, readonly string[]>> = {
    "P-256": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "P-384 with SHA-384": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384", "-sha384"],
    "RSA 2048": ["-newkey", "rsa:2048"],
    "RSA 4096 with SHA-512": ["-newkey", "rsa:4096", "-sha512"],
    "extensions asked for": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-addext", "subjectAltName=URI:spiffe://td/ns/a/sa/b", "-addext", "basicConstraints=CA:TRUE"],
  };
  for (const [name, options] of Object.entries(accepted)) {
    it(`is accepted from openssl: ${name}`, () => {
      const result = verifyCsr(opensslCsr(name.replaceAll(" ", "-"), ...options));
      assert.ok(result.ok, result.ok ? "" : result.error);
    }).timeout(60_000);
  }

  const refused: Readonly<Record<string, readonly [RegExp, ...string[]]>> = {
    "RSA 1024": [/RSA key has 1024 bits/, "-newkey", "rsa:1024"],
    "RSA with exponent 3": [/unusual public exponent/, "-newkey", "rsa:2048", "-pkeyopt", "rsa_keygen_pubexp:3"],
    "SHA-1": [/signature algorithm/, "-newkey", "rsa:2048", "-sha1"],
    "RSA-PSS": [/signature algorithm/, "-newkey", "rsa:2048", "-sigopt", "rsa_padding_mode:pss"],
    "P-521": [/key is not one of/, "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-521"],
    "secp256k1": [/key is not one of/, "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"],
    "Ed25519": [/key is not one of/, "-newkey", "ed25519"],
    "explicit curve parameters": [/key is not one of/, "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-pkeyopt", "ec_param_enc:explicit"],
  };
  for (const [name, [reason, ...options]] of Object.entries(refused)) {
    it(`is refused: ${name}`, () => assert.match(reasonOf(opensslCsr(name.replaceAll(" ", "-"), ...options)), reason)).timeout(60_000);
  }

  it("is refused when too large, before it is read", () => {
    assert.match(reasonOf(Buffer.concat([csr, Buffer.alloc(maxCsrBytes)])), /more than 8192/);
  });

  it("is refused with somebody else's key in it", () => {
    const [mine, other] = [publicKeySpki(key), publicKeySpki(generatePrivateKey())];
    const stolen = Buffer.from(csr);
    const at = stolen.indexOf(mine);
    assert.ok(at > 0);
    other.copy(stolen, at);
    assert.match(reasonOf(stolen), /does not verify/);
  });

  it("is refused with a point that is not on the curve", () => {
    const wrong = Buffer.from(csr);
    const point = wrong.indexOf(publicKeySpki(key)) + 27;
    wrong.fill(1, point, point + 64);
    assert.match(reasonOf(wrong), /key is not one of/);
  });

  it("is refused when any single bit of it is flipped", () => {
    for (let bit = 0; bit < csr.length * 8; bit += 1) {
      const altered = Buffer.from(csr);
      altered[bit >> 3] = (altered[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      assert.equal(verifyCsr(altered).ok, false, `bit ${bit}`);
    }
  }).timeout(60_000);

  it("is refused when cut short, at every length", () => {
    for (let length = 0; length < csr.length; length += 1) assert.equal(verifyCsr(csr.subarray(0, length)).ok, false);
    assert.equal(verifyCsr(Buffer.concat([csr, Buffer.alloc(1)])).ok, false);
  });

  it("is refused with a length that is not written the shortest way", () => {
    assert.equal(csr[0], 0x30);
    assert.equal(csr[1], 0x81);
    const padded = Buffer.concat([Buffer.of(0x30, 0x82, 0x00), csr.subarray(2)]);
    assert.match(reasonOf(padded), /not a PKCS#10 request in DER/);
  });

  it("never makes the reader throw, whatever the bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
        assert.equal(verifyCsr(bytes).ok, false);
      }),
      { numRuns: 2_000 },
    );
  }).timeout(60_000);

  it("never makes the reader throw when pieces of it are replaced", () => {
    const edit = fc.tuple(fc.nat(csr.length), fc.nat(8), fc.uint8Array({ maxLength: 8 }));
    fc.assert(
      fc.property(fc.array(edit, { minLength: 1, maxLength: 4 }), (edits) => {
        let bytes: Buffer = Buffer.from(csr);
        for (const [at, removed, added] of edits) bytes = Buffer.concat([bytes.subarray(0, at), added, bytes.subarray(at + removed)]);
        assert.equal(verifyCsr(bytes).ok, bytes.equals(csr));
      }),
      { numRuns: 2_000 },
    );
  }).timeout(60_000);

  it("is refused when nested without end", () => {
    let deep: Buffer = Buffer.of(5, 0);
    for (let depth = 0; depth < 2_000; depth += 1) {
      const { length } = deep;
      const head = length < 128 ? [0x30, length] : length < 256 ? [0x30, 0x81, length] : [0x30, 0x82, length >> 8, length & 0xff];
      deep = Buffer.concat([Buffer.from(head), deep]);
    }
    assert.equal(verifyCsr(deep).ok, false);
  });
});

describe("DER", () => {
  it("writes what it read, byte for byte, or reads nothing", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        const node = decodeDer(bytes);
        if (node !== undefined) assert.deepEqual(encodeNode(node), Buffer.from(bytes));
      }),
      { numRuns: 5_000 },
    );
  });

  it("reads the keys that Node writes", () => {
    for (const { publicKey } of [generateKeyPairSync("ed25519"), generateKeyPairSync("rsa", { modulusLength: 2048 })]) {
      assert.ok(decodeDer(publicKeySpki(publicKey)));
    }
  });
});
