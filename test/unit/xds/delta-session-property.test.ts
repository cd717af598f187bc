import assert from "node:assert/strict";
import * as fc from "fast-check";
import { createDeltaSession, type DeltaSession } from "../../../xds/delta-session.ts";
import { createResourceSet, type ResourceView, unionOf } from "../../../xds/resource-set.ts";
import { TYPE_URLS } from "../../../xds/type-urls.ts";
import { decode, request, resource } from "./xds-client-model.ts";

const { cluster, listener, clusterLoadAssignment } = TYPE_URLS;
const TYPES = [cluster, listener, clusterLoadAssignment];
const NAMES = ["a", "b", "c", "d", "e"];

type Step =
  | { readonly kind: "put"; readonly set: number; readonly type: string; readonly name: string; readonly content: string }
  | { readonly kind: "remove"; readonly set: number; readonly type: string; readonly name: string }
  | { readonly kind: "deliver" }
  | { readonly kind: "reconnect" };

const key = { set: fc.integer({ min: 0, max: 1 }), type: fc.constantFrom(...TYPES), name: fc.constantFrom(...NAMES) };
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    { weight: 5, arbitrary: fc.record({ kind: fc.constant("put" as const), ...key, content: fc.constantFrom("1", "2", "3", "bad") }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant("remove" as const), ...key }) },
    { weight: 4, arbitrary: fc.record({ kind: fc.constant("deliver" as const) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("reconnect" as const) }) },
  ),
  { maxLength: 60, size: "max" },
);

/** A client that refuses a response with anything bad in it as a whole, as Envoy does with virtual hosts. */
function createModel(view: ResourceView) {
  const held = new Map(TYPES.map((type) => [type, new Map<string, { version: string; content: string }>()]));
  let session: DeltaSession;
  const connect = (): void => {
    session = createDeltaSession({ view, clock: { now: () => 0, elapsed: () => 0, after: () => () => undefined }, onReady: () => undefined, maxResponseBytes: 60 });
    for (const type of TYPES) {
      const initialResourceVersions = Object.fromEntries([...(held.get(type) ?? [])].map(([name, { version }]) => [name, version]));
      session.receive(request(type, { resourceNamesSubscribe: type === clusterLoadAssignment ? NAMES : ["*"], initialResourceVersions }));
    }
  };
  connect();
  return {
    held,
    reconnect() {
      session.close();
      connect();
    },
    /** One response, applied and answered. @returns false when there was none */
    deliver(): boolean {
      const pieces = session.next();
      if (pieces === undefined) return false;
      const response = decode(pieces);
      const isBad = response.resources.some((one) => Buffer.from(one.resource?.value ?? []).toString() === "bad");
      if (!isBad) {
        const ofType = held.get(response.typeUrl);
        for (const { name, version, resource: any } of response.resources) ofType?.set(name, { version, content: Buffer.from(any?.value ?? []).toString() });
        for (const name of response.removedResources) ofType?.delete(name);
      }
      session.receive(request(response.typeUrl, { responseNonce: response.nonce }, isBad ? "bad" : undefined));
      return true;
    },
    status: () => session.status(),
  };
}

describe("delta session, whatever happens", () => {
  it("ends with the client holding what the sets hold, except what it refuses", () => {
    fc.assert(
      fc.property(steps, (script) => {
        const sets = [createResourceSet(), createResourceSet()];
        const view = unionOf(sets);
        const client = createModel(view);
        for (const step of script) {
          if (step.kind === "put") sets[step.set]?.update((transaction) => transaction.upsert(resource(step.type, step.name, step.content)));
          else if (step.kind === "remove") sets[step.set]?.update((transaction) => transaction.remove(step.type, step.name));
          else if (step.kind === "reconnect") client.reconnect();
          else client.deliver();
        }
        for (let turns = 0; client.deliver(); turns += 1) assert.ok(turns < 500, "the session never falls silent");
        let isAnythingRefused = false;
        for (const type of TYPES) {
          for (const { name, bytes } of view.list(type)) {
            if (Buffer.from(bytes).toString() === "bad") isAnythingRefused = true;
            else assert.equal(client.held.get(type)?.get(name)?.content, Buffer.from(bytes).toString(), `${type} ${name}`);
          }
        }
        // Deletions wait for as long as something that may refer to them is refused.
        if (isAnythingRefused) return;
        for (const type of TYPES) {
          assert.deepEqual([...(client.held.get(type)?.keys() ?? [])].sort(), [...view.list(type)].map(({ name }) => name).sort());
        }
        assert.ok(client.status().every(({ state }) => state === "SYNCED" || state === "NOT SENT"));
      }),
      { numRuns: 500 },
    );
  });
});
