import assert from "node:assert/strict";
import { readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { afterEach, beforeEach, describe, it } from "mocha";

import { silentLogger } from "../../../base/logger.ts";
import { verifyJournal } from "../../../ca/journal.ts";
import { loadStateKey } from "../../../ca/key-file.ts";
import { createCertificateAuthority } from "../../../ca/service.ts";
import type { CertificateAuthority } from "../../../ca/service.ts";
import { storeError } from "../../../store/errors.ts";
import type { KeyValueStore, Operation } from "../../../store/key-value.ts";
import { assertRefused, enrolHost, openCaFixture } from "../../support/ca-fixture.ts";
import type { CaFixture } from "../../support/ca-fixture.ts";
import { waitUntil } from "../../support/wait-until.ts";

const ENTRIES = "ca/journal/control-plane-1/";
const HEAD = "ca/journal-heads/control-plane-1";

describe("the journal of an authority, in the hands of who has the store alone", () => {
  let fixture: CaFixture;
  let log: string[];
  let opened: CertificateAuthority[];
  beforeEach(async () => {
    fixture = await openCaFixture();
    [log, opened] = [[], []];
  });
  afterEach(async () => {
    for (const ca of opened) await ca.close();
    await fixture.close();
  });

  const endFile = (): string => `${fixture.config.keyFile}.journal-control-plane-1`;

  async function start(store: KeyValueStore = fixture.store, replica = "control-plane-1"): Promise<CertificateAuthority> {
    const logger = { ...silentLogger, error: (facts: unknown, message?: string) => void log.push(`${message ?? ""} ${JSON.stringify(facts)}`) };
    const { clock, config, groups } = fixture;
    const ca = await createCertificateAuthority({ store, clock, config: { ...config, replica }, logger, resolveGroup: (group) => groups.get(group) });
    opened.push(ca);
    return ca;
  }

  async function items(prefix: string): Promise<Operation[]> {
    return (await fixture.store.list(prefix)).items.map(({ key, value }) => ({ type: "put", key, value }));
  }

  /** Makes what is under the prefix be this and nothing else. */
  async function setBack(prefix: string, to: readonly Operation[]): Promise<void> {
    const now = (await items(prefix)).filter(({ key }) => !to.some((one) => one.key === key));
    await fixture.store.txn([], [...now.map(({ key }): Operation => ({ type: "delete", key })), ...to]);
  }

  async function problemsOf(ca: CertificateAuthority): Promise<string[]> {
    const { problems } = await ca.journal(1);
    assert.deepEqual(ca.journalProblems(), problems);
    for (const problem of problems) assert.ok(log.some((line) => line.includes("the journal is damaged") && line.includes(problem)), problem);
    return problems.map((problem) => problem.replace(/ \(found at .*\)$/, ""));
  }

  it("is sound where nobody touched it, across restarts, and its end is private", async () => {
    await enrolHost(fixture.ca, ["shop/web"]);
    await fixture.ca.close();
    const ca = await start();
    await enrolHost(ca, ["shop/web"]);
    assert.deepEqual(await problemsOf(ca), []);
    assert.equal(statSync(endFile()).mode & 0o777, 0o600);
    assert.deepEqual(readdirSync(dirname(endFile())).filter((name) => name.endsWith(".tmp")), []);
  });

  it("cannot lose its newest entries unseen, and what was lost stays known", async () => {
    const { ca } = fixture;
    await ca.createToken({ groups: ["shop/web"] });
    const [entries, head] = [await items(ENTRIES), await items(HEAD)];
    const host = await enrolHost(ca, ["shop/web"]);
    await ca.revokeHost(host.hostId, "stolen");
    await ca.close();
    await setBack(ENTRIES, entries);
    await setBack(HEAD, head);

    const second = await start();
    await waitUntil(() => log.length === 1, { what: "the log", intervalMs: 2 });
    assert.deepEqual(await problemsOf(second), ["control-plane-1: entries 3 to 5 were written and are gone"]);
    // Longer than before: the length alone would tell nothing any more.
    for (let count = 0; count < 8; count += 1) await second.createToken({ groups: ["shop/web"] });
    await second.close();
    const third = await start();
    assert.deepEqual(await problemsOf(third), ["control-plane-1: entries 3 to 5 were written and are gone"]);
    assert.equal(log.length, 2);
  });

  it("cannot lose them while it is written either: the next entry is refused, and the loss stays known", async () => {
    const ca = await start();
    const [entries, head] = [await items(ENTRIES), await items(HEAD)];
    await ca.createToken({ groups: ["shop/web"] });
    await setBack(ENTRIES, entries);
    await setBack(HEAD, head);
    assert.deepEqual(await problemsOf(ca), ["control-plane-1: entry 2 was written and is gone"]);
    await assertRefused(ca.createToken({ groups: ["shop/web"] }), "MESH_CA_STATE_DAMAGED");
    for (let count = 0; count < 3; count += 1) await ca.createToken({ groups: ["shop/web"] });
    assert.deepEqual(await problemsOf(ca), ["control-plane-1: entry 2 was written and is gone"]);
  });

  it("cannot vanish unseen, and go on as if the authority were new", async () => {
    await enrolHost(fixture.ca, ["shop/web"]);
    await fixture.ca.close();
    await setBack("ca/journal", []);
    const ca = await start();
    assert.deepEqual(await problemsOf(ca), ["control-plane-1: entries 1 to 3 were written and are gone"]);
    await ca.createToken({ groups: ["shop/web"] });
    assert.deepEqual(await problemsOf(ca), ["control-plane-1: entries 1 to 3 were written and are gone"]);
  });

  it("is missed also where its end was not kept: an authority that is not new has entries", async () => {
    await fixture.ca.close();
    await setBack("ca/journal", []);
    rmSync(endFile());
    const ca = await start();
    assert.deepEqual(await problemsOf(ca), ["control-plane-1: all entries are gone: the authority is there, and its creation is not in the journal"]);
  });

  it("is not missed of a replica that is new", async () => {
    assert.deepEqual(await problemsOf(await start(fixture.store, "control-plane-2")), []);
  });

  it("cannot lose a whole chain of another replica whose end is kept here", async () => {
    const other = await start(fixture.store, "control-plane-2");
    await other.createToken({ groups: ["shop/web"] });
    await other.close();
    await setBack("ca/journal/control-plane-2/", []);
    await setBack("ca/journal-heads/control-plane-2", []);
    assert.deepEqual((await fixture.ca.journal()).problems, ["control-plane-2: entry 1 was written and is gone"]);
  });

  it("has a kept end that cannot be changed, is left alone then, and is made anew once it is removed", async () => {
    await fixture.ca.close();
    const written = readFileSync(endFile(), "utf8");
    const changed = written.replace('"sequence":1', '"sequence":0');
    assert.notEqual(changed, written);
    writeFileSync(endFile(), changed);
    const ca = await start();
    await ca.createToken({ groups: ["shop/web"] });
    assert.match((await problemsOf(ca)).join(), /^control-plane-1: how far it reached is not known: .* was changed, or written with another key file$/);
    assert.equal(readFileSync(endFile(), "utf8"), changed);
    await ca.close();
    rmSync(endFile());
    const next = await start();
    await next.createToken({ groups: ["shop/web"] });
    assert.deepEqual(await problemsOf(next), []);
    assert.match(readFileSync(endFile(), "utf8"), /"sequence":3/);
  });

  it("has a kept end that lags where the machine stops between the two, and never leads", async () => {
    const { ca } = fixture;
    let isDown = false;
    const store: KeyValueStore = {
      ...fixture.store,
      async txn(comparisons, operations) {
        if (isDown) throw storeError("MESH_STORE_FAILED", "the machine stops");
        // What the file says is in the store already.
        const { sequence } = JSON.parse(readFileSync(endFile(), "utf8")) as { sequence: number };
        assert.ok(sequence <= (await items(ENTRIES)).length);
        return fixture.store.txn(comparisons, operations);
      },
    };
    await ca.close();
    const second = await start(store);
    for (let count = 0; count < 5; count += 1) await second.createToken({ groups: ["shop/web"] });
    const before = readFileSync(endFile(), "utf8");
    isDown = true;
    await assert.rejects(second.createToken({ groups: ["shop/web"] }), { code: "MESH_STORE_FAILED" });
    assert.equal(readFileSync(endFile(), "utf8"), before);
    isDown = false;
    await second.createToken({ groups: ["shop/web"] });
    await second.close();
    // As if the last entry had been written, and its end not yet.
    writeFileSync(endFile(), before);
    const third = await start();
    await third.createToken({ groups: ["shop/web"] });
    assert.deepEqual(await problemsOf(third), []);
  });

  it("goes on where its end cannot be kept, and says so", async () => {
    const { ca } = fixture;
    const folder = dirname(fixture.config.keyFile);
    // Also root cannot write into a folder that is a file.
    renameSync(folder, `${folder}.moved`);
    writeFileSync(folder, "");
    try {
      await ca.createToken({ groups: ["shop/web"] });
      assert.match((await ca.journal()).problems.join(), /how far it reaches cannot be kept in /);
    } finally {
      rmSync(folder);
      renameSync(`${folder}.moved`, folder);
    }
    await ca.createToken({ groups: ["shop/web"] });
    assert.deepEqual((await ca.journal()).problems, []);
  });

  it("is verified every hour", async () => {
    const ca = await start();
    await enrolHost(ca, ["shop/web"]);
    await problemsOf(ca);
    await fixture.store.txn([], [{ type: "delete", key: `${ENTRIES}000000000002` }]);
    assert.deepEqual(ca.journalProblems(), []);
    await waitUntil(() => (fixture.clock.advance(3_600_000), ca.journalProblems().length > 0), { what: "the verification", intervalMs: 5 });
    assert.deepEqual(ca.journalProblems(), ["control-plane-1: entry 2 is missing"]);
  });

  it("is sound while it is being written", async () => {
    const { ca, store } = fixture;
    const key = await loadStateKey(fixture.config.keyFile, "read");
    let written = 0;
    const growing: KeyValueStore = {
      ...store,
      async list(prefix) {
        await ca.createToken({ groups: ["shop/web"] });
        written += 1;
        return store.list(prefix);
      },
    };
    assert.deepEqual(await verifyJournal(growing, key, "control-plane-1"), []);
    assert.ok(written > 0);
  });

  it("shows what can be read beside what cannot", async () => {
    const { ca } = fixture;
    await enrolHost(ca, ["shop/web"]);
    await fixture.store.txn([], [{ type: "put", key: `${ENTRIES}000000000002`, value: "{" }]);
    const { entries, problems } = await ca.journal();
    assert.deepEqual([entries.map(({ sequence }) => sequence), problems], [[1, 3], ["control-plane-1: entry 2 does not follow from the one before it"]]);
    await fixture.store.txn([], [{ type: "put", key: HEAD, value: "{" }]);
    assert.match((await ca.journal()).problems.join(), /the record ca\/journal-heads\/control-plane-1 is not one of the authority's/);
  });
});
