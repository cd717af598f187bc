import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "mocha";

import { silentLogger } from "../../../base/logger.ts";
import { createCertificateAuthority } from "../../../ca/service.ts";
import type { CertificateAuthority } from "../../../ca/service.ts";
import { peerNetwork } from "../../../ca/peer-network.ts";
import { assertRefused, enrolHost, newKey, openCaFixture } from "../../support/ca-fixture.ts";
import type { CaFixture } from "../../support/ca-fixture.ts";
import { waitUntil } from "../../support/wait-until.ts";

const MINUTE_MS = 60_000;
const BURST = 20;

describe("refusals of an authority", () => {
  let fixture: CaFixture;
  let ca: CertificateAuthority;
  let warnings: string[];
  beforeEach(async () => {
    fixture = await openCaFixture();
    ca = await start();
  });
  afterEach(async () => {
    await ca.close();
    await fixture.close();
  });

  async function start(refusalsPerMinute = 600): Promise<CertificateAuthority> {
    warnings = [];
    const { store, clock, config, groups } = fixture;
    const logger = { ...silentLogger, warn: (facts: unknown, message?: string) => void warnings.push(`${message ?? ""} ${JSON.stringify(facts)}`) };
    return createCertificateAuthority({ store, clock, config: { ...config, replica: "cp-2", refusalsPerMinute }, logger, resolveGroup: (group) => groups.get(group) });
  }

  const junk = (address: string): Promise<void> => assertRefused(ca.join({ token: "junk", csr: Buffer.alloc(0), hostName: "h" }, { address }), "MESH_TOKEN_MALFORMED");
  const entries = async (type: string): Promise<readonly Readonly<Record<string, unknown>>[]> =>
    (await ca.journal()).entries.filter((entry) => entry.writer === "cp-2" && entry.type === type).map(({ facts }) => facts);
  /** Lets a minute pass, and waits for the counts of so many peers since the start. */
  const minute = async (counts: number): Promise<void> => {
    fixture.clock.advance(MINUTE_MS);
    await waitUntil(async () => (await entries("refusals-counted")).length >= counts, { what: `${counts} counts`, intervalMs: 5 });
  };

  it("are written in full for a few, and then as one count a minute, in journal and log alike", async () => {
    for (let count = 0; count < 3_000; count += 1) await junk(`192.0.2.9:${count}`);
    assert.deepEqual([warnings.length, (await entries("join-refused")).length, (await entries("refusals-counted")).length], [BURST, BURST, 0]);
    await minute(1);
    assert.deepEqual(await entries("refusals-counted"), [{ peer: "192.0.2.9", refusals: 3_000 - BURST, codes: ["MESH_TOKEN_MALFORMED"] }]);
    assert.equal(warnings.length, BURST + 1);
    for (let round = 2; round < 5; round += 1) {
      for (let count = 0; count < 50; count += 1) await junk("192.0.2.9:1");
      await minute(round);
    }
    assert.deepEqual((await entries("refusals-counted")).map(({ refusals }) => refusals), [3_000 - BURST, 50, 50, 50]);
    assert.deepEqual([warnings.length, (await entries("join-refused")).length], [BURST + 4, BURST]);
    fixture.clock.advance(60 * MINUTE_MS);
    await junk("192.0.2.9:1");
    assert.equal((await entries("join-refused")).length, BURST + 1);
  });

  it("are written in full again after an hour of silence, though somebody set the clock back", async () => {
    for (let count = 0; count < BURST + 1; count += 1) await junk("192.0.2.9:1");
    await minute(1);
    fixture.clock.step(-24 * 60 * MINUTE_MS);
    fixture.clock.advance(60 * MINUTE_MS);
    await junk("192.0.2.9:1");
    assert.equal((await entries("join-refused")).length, BURST + 1);
  });

  it("of one do not hide those of another", async () => {
    for (let count = 0; count < 100; count += 1) await junk("192.0.2.9:1");
    await junk("192.0.2.10:1");
    const full = await entries("join-refused");
    assert.deepEqual([full.length, full.at(-1)?.["peer"]], [BURST + 1, "192.0.2.10:1"]);
  });

  it("of more peers than can be told apart share one count", async () => {
    for (let peer = 0; peer < 200; peer += 1) for (let count = 0; count < 2; count += 1) await junk(`198.51.100.${peer}:1`);
    assert.equal((await entries("join-refused")).length, 64 * 2);
    await minute(1);
    assert.deepEqual(await entries("refusals-counted"), [{ peer: "others", refusals: 136 * 2, codes: ["MESH_TOKEN_MALFORMED"] }]);
    // Those that were silent for an hour make room.
    fixture.clock.advance(60 * MINUTE_MS);
    await junk("203.0.113.1:1");
    assert.equal((await entries("join-refused")).at(-1)?.["peer"], "203.0.113.1:1");
  });

  it("of all peers together have a limit a minute", async () => {
    await ca.close();
    ca = await start(5);
    for (let peer = 0; peer < 20; peer += 1) await junk(`192.0.2.${peer}:1`);
    assert.equal((await entries("join-refused")).length, 5);
    await minute(15);
    await junk("192.0.2.7:1");
    assert.equal((await entries("join-refused")).length, 6);
  });

  it("that were counted are told when the authority closes", async () => {
    for (let count = 0; count < BURST + 5; count += 1) await junk("192.0.2.9:1");
    await ca.close();
    const { entries: all } = await fixture.ca.journal();
    assert.equal(all.find(({ type }) => type === "refusals-counted")?.facts["refusals"], 5);
  });

  it("leave no room less for what is granted", async () => {
    const host = await enrolHost(ca, ["shop/web"]);
    for (let count = 0; count < 30; count += 1) {
      await assertRefused(ca.signWorkload(host, "shop/db", newKey().csr), "MESH_GROUP_NOT_GRANTED");
      await ca.signWorkload(host, "shop/web", newKey().csr);
    }
    assert.equal((await entries("certificate-refused")).length, BURST);
    // One for each, besides the host's own.
    assert.equal((await entries("certificate-issued")).length, 30);
    await minute(1);
    assert.deepEqual(await entries("refusals-counted"), [{ peer: host.hostId, refusals: 30 - BURST, codes: ["MESH_GROUP_NOT_GRANTED"] }]);
  });
});

describe("the network of a peer", () => {
  for (const [peer, network] of [
    ["192.0.2.9:4711", "192.0.2.9"],
    ["192.0.2.9", "192.0.2.9"],
    ["::ffff:192.0.2.9:4711", "192.0.2.9"],
    ["2001:db8:1:2:3:4:5:6:4711", "2001:db8:1:2::/64"],
    ["2001:db8:0:1::9:4711", "2001:db8:0:1::/64"],
    ["2001:db8::9:4711", "2001:db8:0:0::/64"],
    ["::1:4711", "0:0:0:0::/64"],
    ["fe80::1%eth0:4711", "fe80:0:0:0::/64"],
    ["unknown", "unknown"],
    ["", ""],
  ] as const) {
    it(`of ${JSON.stringify(peer)}`, () => assert.equal(peerNetwork(peer), network));
  }
});
