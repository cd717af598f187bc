import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { afterEach, beforeEach, describe, it } from "mocha";

import { spkiSha256, publicKeySpki } from "../../../base/x509/key.ts";
import { classOf, parseSpiffeId } from "../../../model/identity.ts";
import { assertRefused, enrolHost, newKey, openCaFixture, readLeaf } from "../../support/ca-fixture.ts";
import type { CaFixture } from "../../support/ca-fixture.ts";

const peer = { address: "192.0.2.1" };

describe("joining with a token", () => {
  let fixture: CaFixture;
  beforeEach(async () => {
    fixture = await openCaFixture();
  });
  afterEach(() => fixture.close());

  async function newToken(): Promise<string> {
    return (await fixture.ca.createToken({ groups: ["shop/web"] })).token.revealText();
  }

  it("makes a host with the grant that the token carries", async () => {
    const { ca, clock } = fixture;
    const { token } = await ca.createToken({ groups: ["shop/web", "shop/db"], addressRanges: ["10.0.0.0/8", "fd00::1"], hostName: "web-1" });
    const key = newKey();
    const reply = await ca.join({ token: token.revealText(), csr: key.csr, hostName: "my\nhost" }, peer);
    assert.match(reply.hostId, /^web-1-[a-z2-7]{10}$/);
    const id = parseSpiffeId(reply.certificate.spiffeId);
    assert.ok(id.ok);
    assert.deepEqual(classOf(id.value), { kind: "host", trustDomain: "mesh.internal", hostId: reply.hostId });
    const leaf = readLeaf(reply.certificate);
    assert.equal(leaf.subjectAltName, `URI:spiffe://mesh.internal/host/${reply.hostId}`);
    assert.ok(leaf.checkPrivateKey(key.privateKey));
    assert.deepEqual(await ca.hosts(), [
      {
        hostId: reply.hostId,
        groups: ["shop/web", "shop/db"],
        addressRanges: ["10.0.0.0/8", "fd00::1"],
        spkiSha256: key.spkiSha256,
        tokenId: token.revealText().split(".")[1],
        reportedName: "my?host",
        enrolledAtMs: clock.now(),
        identities: [
          { group: "shop/web", spiffeId: "spiffe://mesh.internal/ns/shop/sa/web-account" },
          { group: "shop/db", spiffeId: "spiffe://mesh.internal/ns/shop/sa/db" },
        ],
      },
    ]);
    assert.equal(reply.trustBundle.trustDomain, "mesh.internal");
    const [root] = reply.trustBundle.roots;
    assert.ok(root !== undefined && leaf.verify(new X509Certificate(root).publicKey));
  });

  it("lets exactly one of 100 keys in that use it at once", async () => {
    const token = await newToken();
    const keys = Array.from({ length: 100 }, newKey);
    const outcomes = await Promise.allSettled(keys.map(({ csr }) => fixture.ca.join({ token, csr, hostName: "h" }, peer)));
    assert.equal(outcomes.filter(({ status }) => status === "fulfilled").length, 1);
    for (const outcome of outcomes) if (outcome.status === "rejected") assert.equal((outcome.reason as { code?: string }).code, "MESH_TOKEN_USED");
    const hosts = await fixture.ca.hosts();
    assert.equal(hosts.length, 1);
    assert.equal(hosts[0]?.spkiSha256, keys[outcomes.findIndex(({ status }) => status === "fulfilled")]?.spkiSha256);
    const { entries, problems } = await fixture.ca.journal();
    assert.deepEqual(problems, []);
    assert.equal(entries.filter(({ type }) => type === "host-joined").length, 1);
    // The others are counted.
    assert.equal(entries.filter(({ type }) => type === "join-refused").length, 20);
  }).timeout(60_000);

  it("lets one in also when the tries go to two replicas", async () => {
    const other = await fixture.openReplica({ replica: "control-plane-2" });
    const token = await newToken();
    const attempts = Array.from({ length: 20 }, () => [fixture.ca, other]).flat();
    const outcomes = await Promise.allSettled(attempts.map((replica) => replica.join({ token, csr: newKey().csr, hostName: "h" }, peer)));
    assert.equal(outcomes.filter(({ status }) => status === "fulfilled").length, 1);
    assert.equal((await fixture.ca.hosts()).length, 1);
    assert.deepEqual((await other.journal()).problems, []);
  });

  it("gives the same host its certificate again, when the same key asks at once or later", async () => {
    const token = await newToken();
    const { csr } = newKey();
    const request = { token, csr, hostName: "h" };
    const replies = await Promise.all(Array.from({ length: 10 }, () => fixture.ca.join(request, peer)));
    fixture.clock.advance(3_599_000);
    replies.push(await fixture.ca.join(request, peer));
    assert.equal(new Set(replies.map(({ hostId }) => hostId)).size, 1);
    assert.equal(new Set(replies.map(({ certificate }) => certificate.serial)).size, 11);
    assert.equal((await fixture.ca.hosts()).length, 1);
  });

  it("refuses a used token with another key, and the same key after the token's life", async () => {
    const token = await newToken();
    const { csr } = newKey();
    await fixture.ca.join({ token, csr, hostName: "h" }, peer);
    await assertRefused(fixture.ca.join({ token, csr: newKey().csr, hostName: "h" }, peer), "MESH_TOKEN_USED");
    fixture.clock.advance(3_600_000);
    await assertRefused(fixture.ca.join({ token, csr, hostName: "h" }, peer), "MESH_TOKEN_EXPIRED");
  });

  it("gives a revoked host nothing for its token", async () => {
    const host = await enrolHost(fixture.ca, ["shop/web"]);
    await fixture.ca.revokeHost(host.hostId);
    await assertRefused(fixture.ca.join({ token: host.token, csr: host.key.csr, hostName: "h" }, peer), "MESH_HOST_REVOKED");
  });

  it("refuses an expired token, to the millisecond", async () => {
    const [first, second] = [await newToken(), await newToken()];
    fixture.clock.advance(3_599_999);
    await fixture.ca.join({ token: first, csr: newKey().csr, hostName: "h" }, peer);
    fixture.clock.advance(1);
    await assertRefused(fixture.ca.join({ token: second, csr: newKey().csr, hostName: "h" }, peer), "MESH_TOKEN_EXPIRED");
  });

  it("refuses text that is no token, altered ones, and tokens of another root", async () => {
    const { ca } = fixture;
    const { csr } = newKey();
    const [prefix, id, secret, root] = (await newToken()).split(".");
    const otherId = "0".repeat(16);
    const foreign = spkiSha256(publicKeySpki(newKey().privateKey));
    const attempts = [
      ["", "MESH_TOKEN_MALFORMED"],
      ["im1.x.y.z", "MESH_TOKEN_MALFORMED"],
      [`${prefix}.${otherId}.${secret}.${root}`, "MESH_TOKEN_UNKNOWN"],
      [`${prefix}.${id}.${Buffer.alloc(32, 1).toString("base64url")}.${root}`, "MESH_TOKEN_UNKNOWN"],
      [`${prefix}.${id}.${secret}.${foreign}`, "MESH_TOKEN_FOREIGN"],
    ] as const;
    for (const [token, code] of attempts) await assertRefused(ca.join({ token, csr, hostName: "h" }, peer), code);
    assert.deepEqual(await ca.hosts(), []);
    // None of them has used it up.
    await ca.join({ token: [prefix, id, secret, root].join("."), csr, hostName: "h" }, peer);
  });

  it("refuses another mesh's token", async () => {
    const stranger = await openCaFixture();
    const token = (await stranger.ca.createToken({ groups: ["shop/web"] })).token.revealText();
    await assertRefused(fixture.ca.join({ token, csr: newKey().csr, hostName: "h" }, peer), "MESH_TOKEN_FOREIGN");
    await stranger.close();
  });

  it("does not use the token up when the request is bad", async () => {
    const token = await newToken();
    const { csr } = newKey();
    const broken = Buffer.from(csr);
    broken[broken.length - 1] = (broken.at(-1) ?? 0) ^ 1;
    for (const bad of [broken, Buffer.alloc(0), Buffer.alloc(100_000)]) {
      await assertRefused(fixture.ca.join({ token, csr: bad, hostName: "h" }, peer), "MESH_CSR_INVALID");
    }
    await fixture.ca.join({ token, csr, hostName: "h" }, peer);
  });

  it("keeps of a token's secret only a hash", async () => {
    const token = await newToken();
    const secret = token.split(".")[2] ?? "?";
    const dump = JSON.stringify(await fixture.store.list(""));
    for (const form of [secret, Buffer.from(secret, "base64url").toString("hex"), Buffer.from(secret, "base64url").toString("base64")]) {
      assert.ok(!dump.includes(form));
    }
  });

  it("says what is wrong with a token that is asked for", async () => {
    const { ca } = fixture;
    const requests = [
      { groups: [] },
      { groups: ["web"] },
      { groups: ["shop/web/x"] },
      { groups: ["shop/web"], ttlSeconds: 1 },
      { groups: ["shop/web"], hostName: "a.b" },
      { groups: ["shop/web"], addressRanges: ["10.0.0.0/33"] },
    ];
    for (const request of requests) await assertRefused(ca.createToken(request), "MESH_TOKEN_INVALID_REQUEST");
  });

  it("forgets tokens that ended long ago, not the hosts they made", async () => {
    const { ca, clock, store } = fixture;
    await enrolHost(ca, ["shop/web"]);
    await newToken();
    clock.advance(10 * 86_400_000);
    const last = await newToken();
    assert.deepEqual((await store.list("ca/tokens/")).items.map(({ key }) => key), [`ca/tokens/${last.split(".")[1]}`]);
    assert.equal((await ca.hosts()).length, 1);
  });

  it("reads no token that there is for each new one", async () => {
    const { store, clock } = fixture;
    let reads = 0;
    const list = store.list.bind(store);
    Object.assign(store, {
      list: (prefix: string) => {
        reads += prefix === "ca/tokens/" ? 1 : 0;
        return list(prefix);
      },
    });
    for (let count = 0; count < 20; count += 1) await newToken();
    assert.equal(reads, 1);
    clock.advance(3_600_000);
    await newToken();
    assert.equal(reads, 2, "what ended long ago is looked for now and then");
  });
});
