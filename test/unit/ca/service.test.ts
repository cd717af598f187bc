import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "mocha";

import { encodePem } from "../../../base/x509/pem.ts";
import { findPinnedRoot } from "../../../base/x509/pinned-root.ts";
import { classOf, parseSpiffeId } from "../../../model/identity.ts";
import { assertRefused, enrolHost, newKey, openCaFixture, readLeaf } from "../../support/ca-fixture.ts";
import type { CaFixture } from "../../support/ca-fixture.ts";

function kindOf(spiffeId: string): string | undefined {
  const id = parseSpiffeId(spiffeId);
  return id.ok ? classOf(id.value)?.kind : undefined;
}

describe("certificate authority", () => {
  let fixture: CaFixture;
  beforeEach(async () => {
    fixture = await openCaFixture();
  });
  afterEach(() => fixture.close());

  describe("for workloads", () => {
    it("writes the group's identity and the host's name, for a day, from a minute ago", async () => {
      const { ca, clock } = fixture;
      const host = await enrolHost(ca, ["shop/web"]);
      const key = newKey();
      const issued = await ca.signWorkload(host, "shop/web", key.csr);
      const leaf = readLeaf(issued);
      assert.equal(leaf.subjectAltName, `URI:spiffe://mesh.internal/ns/shop/sa/web-account, DNS:${host.hostId}.host.mesh.internal`);
      assert.ok(leaf.checkPrivateKey(key.privateKey));
      assert.equal(leaf.validFromDate.getTime(), clock.now() - 60_000);
      assert.equal(leaf.validToDate.getTime(), clock.now() + 86_400_000);
      assert.equal(leaf.serialNumber, issued.serial);
      assert.equal(leaf.ca, false);
      assert.equal(kindOf(issued.spiffeId), "workload");
    });

    it("is verified by openssl against the bundle", async () => {
      const { ca, clock } = fixture;
      const host = await enrolHost(ca, ["shop/web"]);
      const [leaf] = (await ca.signWorkload(host, "shop/web", newKey().csr)).chain;
      const [root] = (await ca.trustBundle()).roots;
      assert.ok(leaf !== undefined && root !== undefined);
      const folder = mkdtempSync(join(tmpdir(), "ironmesh-verify-"));
      writeFileSync(join(folder, "root.pem"), encodePem("CERTIFICATE", root));
      writeFileSync(join(folder, "leaf.pem"), encodePem("CERTIFICATE", leaf));
      const said = execFileSync("openssl", ["verify", "-x509_strict", "-attime", String(Math.floor(clock.now() / 1000)), "-CAfile", "root.pem", "leaf.pem"], { cwd: folder, encoding: "utf8" });
      assert.match(said, /OK/);
      rmSync(folder, { recursive: true });
    });

    it("ignores every name that the request asks for", async () => {
      const host = await enrolHost(fixture.ca, ["shop/web"]);
      const folder = mkdtempSync(join(tmpdir(), "ironmesh-csr-"));
      const options = ["req", "-new", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-keyout", "key.pem", "-subj", "/CN=admin", "-outform", "DER", "-out", "csr.der"];
      const wishes = ["-addext", "subjectAltName=URI:spiffe://mesh.internal/control-plane/x,DNS:evil.example", "-addext", "basicConstraints=critical,CA:TRUE"];
      execFileSync("openssl", [...options, ...wishes], { cwd: folder, stdio: "ignore" });
      const leaf = readLeaf(await fixture.ca.signWorkload(host, "shop/web", readFileSync(join(folder, "csr.der"))));
      rmSync(folder, { recursive: true });
      assert.equal(leaf.subjectAltName, `URI:spiffe://mesh.internal/ns/shop/sa/web-account, DNS:${host.hostId}.host.mesh.internal`);
      assert.equal(leaf.subject, "O=Ironmesh");
      assert.equal(leaf.ca, false);
    });

    it("refuses a group that was not granted", async () => {
      const host = await enrolHost(fixture.ca, ["shop/web"]);
      for (const group of ["shop/db", "other/web", "", "shop/web/", "../shop/web"]) {
        await assertRefused(fixture.ca.signWorkload(host, group, newKey().csr), "MESH_GROUP_NOT_GRANTED");
      }
    });

    it("refuses a group that is gone, has left its namespace, or has an impossible account", async () => {
      const { ca, groups } = fixture;
      const host = await enrolHost(ca, ["shop/web"]);
      for (const identity of [undefined, { namespace: "payments", serviceAccount: "web" }, { namespace: "shop", serviceAccount: "a/../../control-plane/x" }]) {
        groups.delete("shop/web");
        if (identity !== undefined) groups.set("shop/web", identity);
        await assertRefused(ca.signWorkload(host, "shop/web", newKey().csr), "MESH_GROUP_UNKNOWN");
        assert.deepEqual((await ca.hosts())[0]?.identities, []);
      }
    });

    it("refuses the host's own key", async () => {
      const host = await enrolHost(fixture.ca, ["shop/web"]);
      await assertRefused(fixture.ca.signWorkload(host, "shop/web", host.key.csr), "MESH_CSR_INVALID");
    });

    it("issues no longer than the root lives", async () => {
      const { ca, clock } = fixture;
      const [root] = (await ca.trustBundle()).roots;
      assert.ok(root);
      const rootEndMs = new X509Certificate(root).validToDate.getTime();
      clock.advance(rootEndMs - clock.now() - 3_600_000);
      const host = await enrolHost(ca, ["shop/web"]);
      assert.equal((await ca.signWorkload(host, "shop/web", newKey().csr)).notAfterMs, rootEndMs);
    });
  });

  describe("for hosts", () => {
    it("knows a caller by id and key together", async () => {
      const { ca } = fixture;
      const [host, other] = [await enrolHost(ca, ["shop/web"]), await enrolHost(ca, ["shop/db"])];
      for (const caller of [{ ...host, spkiSha256: other.spkiSha256 }, { ...host, spkiSha256: "" }]) {
        await assertRefused(ca.signWorkload(caller, "shop/web", newKey().csr), "MESH_HOST_KEY_MISMATCH");
        await assertRefused(ca.renewHost(caller, newKey().csr), "MESH_HOST_KEY_MISMATCH");
        await assertRefused(ca.authorize(caller), "MESH_HOST_KEY_MISMATCH");
      }
      for (const hostId of ["nobody", "x".repeat(63), "host-"]) {
        await assertRefused(ca.signWorkload({ ...host, hostId }, "shop/web", newKey().csr), "MESH_HOST_UNKNOWN");
      }
      assert.deepEqual((await ca.authorize(host)).groups, ["shop/web"]);
    });

    it("renews for the same key and for a new one, and then knows the new one", async () => {
      const { ca } = fixture;
      const host = await enrolHost(ca, ["shop/web"]);
      await ca.renewHost(host, host.key.csr);
      const next = newKey();
      const { certificate, trustBundle } = await ca.renewHost(host, next.csr);
      assert.ok(readLeaf(certificate).checkPrivateKey(next.privateKey));
      assert.equal(certificate.spiffeId, `spiffe://mesh.internal/host/${host.hostId}`);
      assert.equal(trustBundle.roots.length, 1);
      await ca.signWorkload({ hostId: host.hostId, spkiSha256: next.spkiSha256 }, "shop/web", newKey().csr);
      await assertRefused(ca.renewHost(host, newKey().csr), "MESH_HOST_KEY_MISMATCH");
    });

    it("survives lost replies: the old key is good until the new one was seen", async () => {
      const { ca } = fixture;
      const host = await enrolHost(ca, ["shop/web"]);
      const [lost, kept] = [newKey(), newKey()];
      await ca.renewHost(host, lost.csr);
      await ca.signWorkload(host, "shop/web", newKey().csr);
      await ca.renewHost(host, lost.csr);
      await ca.renewHost(host, kept.csr);
      await assertRefused(ca.authorize({ ...host, spkiSha256: lost.spkiSha256 }), "MESH_HOST_KEY_MISMATCH");
      await ca.authorize({ ...host, spkiSha256: kept.spkiSha256 });
      await assertRefused(ca.authorize(host), "MESH_HOST_KEY_MISMATCH");
    });

    it("issues nothing for a revoked host, not even what was asked at the same time", async () => {
      const { ca } = fixture;
      const host = await enrolHost(ca, ["shop/web"]);
      const inFlight = Array.from({ length: 20 }, () => ca.signWorkload(host, "shop/web", newKey().csr));
      const outcomes = Promise.allSettled(inFlight);
      await ca.revokeHost(host.hostId, "stolen");
      await ca.revokeHost(host.hostId, "again");
      await outcomes;
      await assertRefused(ca.signWorkload(host, "shop/web", newKey().csr), "MESH_HOST_REVOKED");
      await assertRefused(ca.renewHost(host, host.key.csr), "MESH_HOST_REVOKED");
      await assertRefused(ca.authorize(host), "MESH_HOST_REVOKED");
      await assertRefused(ca.revokeHost("nobody"), "MESH_HOST_UNKNOWN");
      assert.equal((await ca.hosts())[0]?.revoked?.reason, "stolen");
      const types = (await ca.journal()).entries.map(({ type }) => type);
      assert.equal(types.filter((type) => type === "host-revoked").length, 1);
      assert.ok(!types.slice(types.indexOf("host-revoked")).includes("certificate-issued"));
    });
  });

  it("gives the control plane a key, its names, and a chain that a token's owner recognizes", async () => {
    const replica = await fixture.openReplica({ replica: "cp-2", dnsNames: ["cp.example", "*.cp.example"] });
    const { chain, privateKeyPem, spiffeId, notAfterMs, notBeforeMs } = await replica.controlPlaneCertificate();
    const leaf = readLeaf({ chain, spiffeId, notAfterMs, notBeforeMs, serial: "" });
    assert.equal(leaf.subjectAltName, "URI:spiffe://mesh.internal/control-plane/cp-2, DNS:cp.example, DNS:*.cp.example");
    assert.equal(kindOf(spiffeId), "control-plane");
    assert.ok(!JSON.stringify({ privateKeyPem }).includes("PRIVATE KEY"));
    const fingerprint = (await replica.createToken({ groups: ["shop/web"] })).token.revealText().split(".")[3] ?? "";
    const root = findPinnedRoot(chain, fingerprint);
    assert.ok(root !== undefined && leaf.verify(new X509Certificate(root).publicKey));
  });

  it("notes everything, issued and refused, and nothing secret", async () => {
    const { ca } = fixture;
    const host = await enrolHost(ca, ["shop/web"], "web-1");
    const issued = await ca.signWorkload(host, "shop/web", newKey().csr);
    await assertRefused(ca.signWorkload(host, "shop/db\n", newKey().csr), "MESH_GROUP_NOT_GRANTED");
    await assertRefused(ca.join({ token: "x", csr: host.key.csr, hostName: "y".repeat(10_000) }, { address: "192.0.2.9" }), "MESH_TOKEN_MALFORMED");
    const { entries, problems } = await ca.journal();
    assert.deepEqual(problems, []);
    assert.deepEqual(entries.map(({ type }) => type), ["authority-created", "token-created", "host-joined", "certificate-issued", "certificate-refused", "join-refused"]);
    assert.equal(entries[3]?.facts["serial"], issued.serial);
    assert.equal(entries[4]?.facts["code"], "MESH_GROUP_NOT_GRANTED");
    assert.equal(entries[4]?.facts["group"], "shop/db?");
    assert.equal(entries[5]?.facts["peer"], "192.0.2.9");
    assert.ok(String(entries[5]?.facts["reportedName"]).length <= 128);
    assert.ok(!JSON.stringify(entries).includes(host.token.split(".")[2] ?? "?"));
  });

  it("is never there without its creation in the journal", async () => {
    const { revision } = (await fixture.store.get("ca/authority")) ?? {};
    assert.equal((await fixture.store.get("ca/journal/control-plane-1/000000000001"))?.revision, revision);
  });
});
