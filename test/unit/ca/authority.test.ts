import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "mocha";

import { SecretBytes } from "../../../base/secret-bytes.ts";
import { privateKeyPem, publicKeySpki } from "../../../base/x509/key.ts";
import { authorityKey, openAuthority } from "../../../ca/authority.ts";
import type { Authority } from "../../../ca/authority.ts";
import { watchTrustBundle } from "../../../ca/bundle.ts";
import type { TrustBundle } from "../../../ca/bundle.ts";
import { caConfigSchema } from "../../../ca/config.ts";
import type { CaConfig } from "../../../ca/config.ts";
import { loadStateKey, stateKey } from "../../../ca/key-file.ts";
import { createMemoryStore } from "../../../store/memory.ts";
import type { KeyValueStore } from "../../../store/key-value.ts";
import { assertRefused } from "../../support/ca-fixture.ts";
import { createManualClock } from "../../support/manual-clock.ts";
import { waitUntil } from "../../support/wait-until.ts";

describe("authority", () => {
  const clock = createManualClock();
  let folder: string;
  let store: KeyValueStore;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "ironmesh-authority-"));
    store = createMemoryStore();
  });
  afterEach(async () => {
    await store.close();
    rmSync(folder, { recursive: true });
  });

  function open(name: string, overrides: Partial<CaConfig> = {}): Promise<Authority> {
    return openAuthority(store, clock, { ...caConfigSchema.parse({ keyFile: join(folder, name, "state.key") }), ...overrides });
  }

  it("is made once and found again", async () => {
    const first = await open("a");
    const again = await open("a");
    assert.deepEqual([first.isNew, again.isNew], [true, false]);
    assert.deepEqual(again.root, first.root);
    assert.ok(again.issuer.privateKey.equals(first.issuer.privateKey));
    const root = new X509Certificate(first.root);
    assert.ok(root.ca && root.verify(root.publicKey));
    assert.equal(root.subjectAltName, "URI:spiffe://mesh.internal");
    assert.deepEqual(publicKeySpki(root.publicKey), publicKeySpki(first.issuer.privateKey));
  });

  it("is the same for many that start at once with one key file", async () => {
    const all = await Promise.all(Array.from({ length: 10 }, () => open("a")));
    assert.equal(all.filter(({ isNew }) => isNew).length, 1);
    assert.equal(new Set(all.map(({ rootFingerprint }) => rootFingerprint)).size, 1);
  });

  it("never has its private key in the store", async () => {
    const { issuer } = await open("a");
    const dump = JSON.stringify(await store.list(""));
    const pem = privateKeyPem(issuer.privateKey).revealText();
    const secrets = [issuer.privateKey.export({ type: "pkcs8", format: "der" }), Buffer.from(issuer.privateKey.export({ format: "jwk" }).d ?? "", "base64url")];
    assert.ok(!dump.includes("PRIVATE KEY") && !dump.includes(pem.split("\n")[1] ?? "?"));
    for (const bytes of secrets) {
      assert.ok(bytes.length >= 32);
      for (const encoding of ["hex", "base64", "base64url", "latin1"] as const) assert.ok(!dump.includes(bytes.toString(encoding)));
    }
  });

  it("keeps its key file private, and takes no other", async () => {
    const path = join(folder, "a", "state.key");
    await open("a");
    assert.equal(statSync(path).mode & 0o777, 0o600);
    chmodSync(path, 0o640);
    await assertRefused(open("a"), "MESH_CA_KEY_FILE");
    chmodSync(path, 0o600);
    const content = readFileSync(path);
    writeFileSync(path, "short");
    await assertRefused(open("a"), "MESH_CA_KEY_FILE");
    rmSync(path);
    // Making a new one would hide that the key is lost.
    await assertRefused(open("a"), "MESH_CA_KEY_FILE");
    writeFileSync(path, Buffer.alloc(32, 7).toString("base64"), { mode: 0o600 });
    await assertRefused(open("a"), "MESH_CA_KEY_WRONG");
    writeFileSync(path, content);
    await open("a");
  });

  it("tells a replica with a key file of its own that it needs the other's", async () => {
    await open("a");
    await loadStateKey(join(folder, "b", "state.key"), "create");
    await assertRefused(open("b"), "MESH_CA_KEY_WRONG");
  });

  it("does not start with a changed record", async () => {
    await open("a");
    const item = await store.get(authorityKey);
    assert.ok(item);
    const record = JSON.parse(item.value) as { active: string; roots: { fingerprint: string; certificate: string; sealedKey: string }[] };
    const [root] = record.roots;
    const strangerStore = createMemoryStore();
    const stranger = await openAuthority(strangerStore, clock, caConfigSchema.parse({ keyFile: join(folder, "a", "state.key") }));
    assert.ok(root);
    const changes: readonly [unknown, "MESH_CA_STATE_DAMAGED" | "MESH_CA_KEY_WRONG"][] = [
      ["text", "MESH_CA_STATE_DAMAGED"],
      [{ ...record, more: 1 }, "MESH_CA_STATE_DAMAGED"],
      [{ ...record, active: "other" }, "MESH_CA_STATE_DAMAGED"],
      [{ ...record, roots: [{ ...root, certificate: stranger.root.toString("base64") }] }, "MESH_CA_STATE_DAMAGED"],
      [{ ...record, active: "f", roots: [{ ...root, fingerprint: "f" }] }, "MESH_CA_KEY_WRONG"],
      [{ ...record, roots: [{ ...root, sealedKey: `${root.sealedKey.slice(0, -4)}AAAA` }] }, "MESH_CA_KEY_WRONG"],
      [{ ...record, roots: [{ ...root, sealedKey: "v2.x" }] }, "MESH_CA_KEY_WRONG"],
    ];
    for (const [value, code] of changes) {
      await store.txn([], [{ type: "put", key: authorityKey, value: JSON.stringify(value) }]);
      await assertRefused(open("a"), code);
    }
    await store.txn([], [{ type: "put", key: authorityKey, value: item.value }]);
    await assertRefused(open("a", { trustDomain: "other.internal" }), "MESH_CA_STATE_DAMAGED");
    await open("a");
  });

  it("shows its roots to those who watch, the signing one first", async () => {
    const { root } = await open("a");
    const seen: TrustBundle[] = [];
    const watch = watchTrustBundle(store, (bundle) => seen.push(bundle));
    await waitUntil(() => seen.length === 1, { what: "the bundle" });
    assert.deepEqual(seen[0], { trustDomain: "mesh.internal", roots: [root] });
    const item = await store.get(authorityKey);
    const record = JSON.parse(item?.value ?? "") as { roots: { fingerprint: string; certificate: string }[] };
    const next = { ...record.roots[0], fingerprint: "next", certificate: Buffer.from("next").toString("base64") };
    await store.txn([], [{ type: "put", key: authorityKey, value: JSON.stringify({ ...record, active: "next", roots: [...record.roots, next] }) }]);
    await waitUntil(() => seen.length === 2, { what: "the changed bundle" });
    assert.deepEqual(seen[1]?.roots, [Buffer.from("next"), root]);
    await watch.close();
  });
});

describe("state key", () => {
  const key = stateKey(new SecretBytes(Buffer.alloc(32, 1)));
  const secret = new SecretBytes("the secret");

  it("opens what it sealed, under the same words only", async () => {
    const sealed = key.seal(secret, "context");
    assert.equal(key.open(sealed, "context").revealText(), "the secret");
    assert.notEqual(key.seal(secret, "context"), sealed);
    await assertRefused(Promise.resolve().then(() => key.open(sealed, "other")), "MESH_CA_KEY_WRONG");
    await assertRefused(Promise.resolve().then(() => stateKey(new SecretBytes(Buffer.alloc(32, 2))).open(sealed, "context")), "MESH_CA_KEY_WRONG");
  });

  it("notices every changed or missing byte", async () => {
    const bytes = Buffer.from(key.seal(secret, "context").slice(3), "base64url");
    for (let index = 0; index < bytes.length; index += 1) {
      const changed = Buffer.from(bytes);
      changed[index] = (changed[index] ?? 0) ^ 1;
      for (const wrong of [changed, bytes.subarray(0, index)]) {
        assert.throws(() => key.open(`v1.${wrong.toString("base64url")}`, "context"), { code: "MESH_CA_KEY_WRONG" });
      }
    }
  });
});
