import assert from "node:assert/strict";
import * as fc from "fast-check";
import type { DiscoveryResponse } from "../../../proto/gen/envoy/service/discovery/v3/discovery_pb.js";
import { createResourceSet, type ResourceView } from "../../../xds/resource-set.ts";
import { createSotwSession, type SotwSession } from "../../../xds/sotw-session.ts";
import { TYPE_URLS } from "../../../xds/type-urls.ts";
import { decodeSotw, resource, sotwRequest } from "./xds-client-model.ts";

const { cluster, routeConfiguration } = TYPE_URLS;
const TYPES = [cluster, routeConfiguration];
/** Of these the client asks for everything. */
const WHOLE = [cluster];
const NAMES = ["a", "b", "c"];

type Step =
  | { readonly kind: "put"; readonly type: string; readonly name: string; readonly content: string }
  | { readonly kind: "remove"; readonly type: string; readonly name: string }
  | { readonly kind: "ask"; readonly names: readonly string[] }
  /** The server writes, the client reads: a response may be under way in between. */
  | { readonly kind: "write" | "read" | "reconnect" };

const key = { type: fc.constantFrom(...TYPES), name: fc.constantFrom(...NAMES) };
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    { weight: 5, arbitrary: fc.record({ kind: fc.constant("put" as const), ...key, content: fc.constantFrom("1", "2", "3", "bad") }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant("remove" as const), ...key }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("ask" as const), names: fc.subarray(NAMES) }) },
    { weight: 4, arbitrary: fc.record({ kind: fc.constant("write" as const) }) },
    { weight: 4, arbitrary: fc.record({ kind: fc.constant("read" as const) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("reconnect" as const) }) },
  ),
  { maxLength: 80, size: "max" },
);

const textOf = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString();

/** A client as Envoy is one: whole types as they come, the others by names that change; a response with anything bad is refused as a whole. */
function createModel(view: ResourceView, nameOf: ReadonlyMap<string, string>) {
  const held = new Map(TYPES.map((type) => [type, new Map<string, string>()]));
  const asked = new Map<string, readonly string[]>(TYPES.map((type) => [type, WHOLE.includes(type) ? [] : NAMES]));
  let nonces = new Map<string, string>();
  let underWay: DiscoveryResponse[] = [];
  let session: SotwSession;
  const send = (type: string, nack?: string): void => session.receive(sotwRequest(type, asked.get(type), nonces.get(type), nack));
  const connect = (): void => {
    nonces = new Map();
    underWay = [];
    session = createSotwSession({ view, clock: { now: () => 0, elapsed: () => 0, after: () => () => undefined }, onReady: () => undefined });
    for (const type of TYPES) send(type);
  };
  const apply = ({ typeUrl, resources }: DiscoveryResponse): boolean => {
    const contents = resources.map(({ value }) => textOf(value));
    if (contents.some((content) => content.endsWith("bad"))) return false;
    const ofType = held.get(typeUrl);
    if (WHOLE.includes(typeUrl)) ofType?.clear();
    for (const content of contents) {
      const name = nameOf.get(content) ?? "";
      if (WHOLE.includes(typeUrl) || asked.get(typeUrl)?.includes(name) === true) ofType?.set(name, content);
    }
    return true;
  };
  connect();
  return {
    held,
    asked,
    reconnect() {
      session.close();
      connect();
    },
    ask(names: readonly string[]): void {
      asked.set(routeConfiguration, names);
      for (const name of NAMES) if (!names.includes(name)) held.get(routeConfiguration)?.delete(name);
      send(routeConfiguration);
    },
    write(): void {
      const pieces = session.next();
      if (pieces !== undefined) underWay.push(decodeSotw(pieces));
    },
    /** @returns false when there was nothing to read */
    read(): boolean {
      const response = underWay.shift();
      if (response === undefined) return false;
      nonces.set(response.typeUrl, response.nonce);
      send(response.typeUrl, apply(response) ? undefined : "bad");
      return true;
    },
    status: () => session.status(),
  };
}

describe("state-of-the-world session, whatever happens", () => {
  it("ends with the client holding what the sets hold of what it asks for, except types with something that it refuses", () => {
    fc.assert(
      fc.property(steps, (script) => {
        const set = createResourceSet();
        const client = createModel(set, new Map(NAMES.flatMap((name) => ["1", "2", "3", "bad"].map((content) => [`${name}${content}`, name]))));
        for (const step of script) {
          if (step.kind === "put") set.update((transaction) => transaction.upsert(resource(step.type, step.name, `${step.name}${step.content}`)));
          else if (step.kind === "remove") set.update((transaction) => transaction.remove(step.type, step.name));
          else if (step.kind === "ask") client.ask(step.names);
          else client[step.kind]();
        }
        for (let turns = 0; ; turns += 1) {
          assert.ok(turns < 500, "the session never falls silent");
          client.write();
          if (!client.read()) break;
        }
        for (const type of TYPES) {
          const wanted = [...set.list(type)].filter(({ name }) => WHOLE.includes(type) || client.asked.get(type)?.includes(name) === true);
          if (wanted.some(({ bytes }) => textOf(bytes).endsWith("bad"))) continue;
          const expected = Object.fromEntries(wanted.map(({ name, bytes }) => [name, textOf(bytes)]));
          const held = Object.fromEntries(client.held.get(type) ?? []);
          // That a resource of the other types is gone cannot be said; whoever referred to it is told.
          const compared = WHOLE.includes(type) ? held : Object.fromEntries(Object.entries(held).filter(([name]) => name in expected));
          assert.deepEqual(compared, expected, type);
          assert.notEqual(client.status().find(({ typeUrl }) => typeUrl === type)?.state, "STALE");
        }
      }),
      { numRuns: 1_000 },
    );
  });
});
