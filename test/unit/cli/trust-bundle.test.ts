import assert from "node:assert/strict";
import { authorityKey } from "../../../ca/authority.ts";
import { followTrustBundle } from "../../../cli/control-plane/trust-bundle.ts";
import { type CaFixture, openCaFixture } from "../../support/ca-fixture.ts";
import { createFailingStore } from "../../support/failing-store.ts";
import { waitUntil } from "../../support/wait-until.ts";

const LONGEST_PAUSE_MS = 10_000;

describe("the trust bundle, followed", () => {
  let fixture: CaFixture;
  beforeEach(async () => {
    fixture = await openCaFixture();
  });
  afterEach(() => fixture.close());

  it("is followed again after a failure of the store, at the start and later", async () => {
    const { clock } = fixture;
    const store = createFailingStore(fixture.store);
    const [told, failures] = [[] as string[], [] as unknown[]];
    const happens = (list: readonly unknown[], count: number): Promise<unknown> => waitUntil(() => list.length >= count, { what: `${count} of them`, intervalMs: 1 });
    store.isBroken = true;
    const following = followTrustBundle({ store, clock, onChange: ({ trustDomain }) => void told.push(trustDomain), onFailure: (failure) => void failures.push(failure) });
    await happens(failures, 1);
    clock.advance(LONGEST_PAUSE_MS);
    await happens(failures, 2);
    store.isBroken = false;
    clock.advance(LONGEST_PAUSE_MS);
    await happens(told, 1);

    const change = async (): Promise<void> => {
      const value = (await fixture.store.get(authorityKey))?.value;
      assert.ok(value !== undefined);
      await fixture.store.txn([], [{ type: "put", key: authorityKey, value: ` ${value}` }]);
    };
    store.isBroken = true;
    await change();
    await happens(failures, 3);
    store.isBroken = false;
    clock.advance(LONGEST_PAUSE_MS);
    await happens(told, 2);
    await change();
    await happens(told, 3);
    await following.close();
    assert.equal(failures.length, 3);
  });

  it("ends also while the store fails", async () => {
    const store = createFailingStore(fixture.store);
    store.isBroken = true;
    let failures = 0;
    const following = followTrustBundle({ store, clock: fixture.clock, onChange: () => assert.fail(), onFailure: () => void (failures += 1) });
    await waitUntil(() => failures > 0, { what: "the failure", intervalMs: 1 });
    await following.close();
    store.isBroken = false;
    fixture.clock.advance(LONGEST_PAUSE_MS);
  });
});
