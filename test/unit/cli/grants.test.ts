import assert from "node:assert/strict";
import type { Logger } from "../../../base/logger.ts";
import { silentLogger } from "../../../base/logger.ts";
import { followGrants, type Grants } from "../../../cli/control-plane/grants.ts";
import { storeError } from "../../../store/errors.ts";
import type { KeyValueStore, Watch } from "../../../store/key-value.ts";
import { type CaFixture, enrolHost, newKey, openCaFixture } from "../../support/ca-fixture.ts";
import { waitUntil } from "../../support/wait-until.ts";

/** The real store, which fails when it is told to. */
interface FailingStore extends KeyValueStore {
  /** How many calls of `list` fail from now on. */
  fail(lists: number): void;
  /** Ends every watch with the failure of the medium, or as one that cannot tell everything. */
  endWatches(how: "failure" | "resync"): void;
  readonly lists: number;
}

function failing(store: KeyValueStore): FailingStore {
  const watches = new Set<{ readonly watch: Watch; end: "failure" | "resync" | undefined }>();
  let [lists, failures] = [0, 0];
  return {
    get: (key) => store.get(key),
    txn: (comparisons, operations) => store.txn(comparisons, operations),
    close: () => store.close(),
    async list(prefix) {
      lists += 1;
      if (failures > 0) {
        failures -= 1;
        throw storeError("MESH_STORE_BUSY", "too many requests wait");
      }
      return store.list(prefix);
    },
    watch(prefix, from) {
      const entry: { readonly watch: Watch; end: "failure" | "resync" | undefined } = { watch: store.watch(prefix, from), end: undefined };
      watches.add(entry);
      return {
        close: () => entry.watch.close(),
        async *[Symbol.asyncIterator]() {
          yield* entry.watch;
          watches.delete(entry);
          if (entry.end === "failure") throw storeError("MESH_STORE_FAILED", "the disk is gone");
          if (entry.end === "resync") yield { type: "resync" as const };
        },
      };
    },
    fail: (count) => void (failures = count),
    endWatches(how) {
      for (const entry of watches) {
        entry.end = how;
        entry.watch.close();
      }
    },
    get lists() {
      return lists;
    },
  };
}

describe("the grants of hosts, followed", () => {
  let fixture: CaFixture;
  let store: FailingStore;
  let grants: Grants;
  let told: string[];
  let complaints: string[];
  let logger: Logger;
  beforeEach(async () => {
    fixture = await openCaFixture();
    store = failing(fixture.store);
    [told, complaints] = [[], []];
    logger = { ...silentLogger, error: (_facts: unknown, message?: string) => void complaints.push(message ?? "") };
  });
  afterEach(async () => {
    await grants.close();
    await fixture.close();
  });

  async function follow(): Promise<void> {
    grants = await followGrants({ store, clock: fixture.clock, logger });
    grants.subscribe((hostId, isRevoked) => void told.push(`${hostId} ${isRevoked}`));
  }
  const enrol = async (): Promise<string> => (await enrolHost(fixture.ca, ["shop/web"])).hostId;
  const put = async (hostId: string, value: string): Promise<void> => void (await fixture.store.txn([], [{ type: "put", key: `ca/hosts/${hostId}`, value }]));
  const heard = (line: string): Promise<unknown> => waitUntil(() => told.includes(line), { what: line, intervalMs: 2 });

  it("are told as they change, without a list of all for each", async () => {
    await follow();
    const before = store.lists;
    const host = await enrol();
    await heard(`${host} false`);
    assert.ok(grants.allowsGroup(host, "shop/web") && !grants.allowsGroup(host, "shop/db"));
    await fixture.ca.revokeHost(host);
    await heard(`${host} true`);
    assert.ok(!grants.allowsGroup(host, "shop/web"));
    assert.equal(store.lists, before);
  });

  it("know a caller who is plainly who he says, and leave every other to the store", async () => {
    const { hostId, spkiSha256 } = await enrolHost(fixture.ca, ["shop/web"]);
    await follow();
    const [old, next] = [{ hostId, spkiSha256 }, newKey()];
    const known = (): boolean[] => [grants.knows(old), grants.knows({ hostId, spkiSha256: next.spkiSha256 }), grants.knows({ hostId: "somebody", spkiSha256 })];
    assert.deepEqual(known(), [true, false, false]);
    await fixture.ca.renewHost(old, next.csr);
    await heard(`${hostId} false`);
    assert.deepEqual(known(), [false, false, false], "which of two keys is in use the store alone can say");
    await fixture.ca.authorize({ hostId, spkiSha256: next.spkiSha256 });
    await waitUntil(() => grants.knows({ hostId, spkiSha256: next.spkiSha256 }), { what: "the new key", intervalMs: 2 });
    assert.deepEqual(known(), [false, true, false]);
    store.fail(1);
    store.endWatches("failure");
    await waitUntil(() => complaints.length === 1, { what: "the failure", intervalMs: 2 });
    assert.deepEqual(known(), [false, false, false], "nobody, while they are not followed");
    fixture.clock.advance(10_000);
    await waitUntil(() => complaints.length === 2, { what: "the second failure", intervalMs: 2 });
    fixture.clock.advance(10_000);
    await waitUntil(() => grants.openTasks().length === 0, { what: "the grants", intervalMs: 2 });
    assert.deepEqual(known(), [false, true, false]);
    await fixture.ca.revokeHost(hostId);
    await heard(`${hostId} true`);
    assert.deepEqual(known(), [false, false, false]);
  });

  it("are those of the hosts that there are: one whose record is gone may be nothing", async () => {
    const host = await enrol();
    await follow();
    assert.ok(grants.allowsGroup(host, "shop/web"));
    await fixture.store.txn([], [{ type: "delete", key: `ca/hosts/${host}` }]);
    await heard(`${host} true`);
    assert.ok(!grants.allowsGroup(host, "shop/web"));
  });

  it("are followed again after the store failed, with pauses, and what was revoked meanwhile counts", async () => {
    const host = await enrol();
    await follow();
    assert.deepEqual(grants.openTasks(), []);
    store.fail(2);
    store.endWatches("failure");
    await waitUntil(() => complaints.length === 1, { what: "the failure", intervalMs: 2 });
    await fixture.ca.revokeHost(host, "stolen");
    assert.deepEqual(grants.openTasks(), ["the grants of hosts are not followed: the disk is gone"]);
    fixture.clock.advance(10_000);
    await waitUntil(() => complaints.length === 2, { what: "the second failure", intervalMs: 2 });
    assert.deepEqual(grants.openTasks(), ["the grants of hosts are not followed: too many requests wait"]);
    fixture.clock.advance(10_000);
    await waitUntil(() => complaints.length === 3, { what: "the third failure", intervalMs: 2 });
    assert.deepEqual(told, []);
    fixture.clock.advance(10_000);
    await heard(`${host} true`);
    assert.deepEqual(grants.openTasks(), []);
    assert.equal(complaints.length, 3);
    const next = await enrol();
    await heard(`${next} false`);
  });

  it("are read again where the watch cannot tell everything, and where that reading fails, too", async () => {
    const [kept, gone] = [await enrol(), await enrol()];
    await follow();
    store.fail(1);
    store.endWatches("resync");
    await waitUntil(() => complaints.length === 1, { what: "the failure", intervalMs: 2 });
    await fixture.store.txn([], [{ type: "delete", key: `ca/hosts/${gone}` }]);
    fixture.clock.advance(10_000);
    await heard(`${gone} true`);
    assert.ok(grants.allowsGroup(kept, "shop/web") && !grants.allowsGroup(gone, "shop/web"));
  });

  it("count without one that is damaged, which is said and changes nothing", async () => {
    const [damaged, moved, sound] = [await enrol(), await enrol(), await enrol()];
    await put("never-readable", "{");
    await follow();
    assert.equal(complaints.length, 1);
    const sounds = (await fixture.store.get(`ca/hosts/${sound}`))?.value ?? "";
    await put(damaged, "{}");
    await put(moved, sounds);
    await fixture.ca.revokeHost(sound);
    await heard(`${sound} true`);
    assert.deepEqual([complaints.length, told], [3, [`${sound} true`]]);
    assert.ok(grants.allowsGroup(damaged, "shop/web") && grants.allowsGroup(moved, "shop/web"));
    assert.deepEqual((await fixture.ca.hosts()).map(({ hostId }) => hostId), [sound]);
    assert.deepEqual(grants.openTasks(), []);
  });
});
