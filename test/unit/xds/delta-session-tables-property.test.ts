import assert from "node:assert/strict";
import { create, toBinary } from "@bufbuild/protobuf";
import * as fc from "fast-check";
import { Cluster_DiscoveryType, ClusterSchema } from "../../../proto/gen/envoy/config/cluster/v3/cluster_pb.js";
import { RouteConfigurationSchema } from "../../../proto/gen/envoy/config/route/v3/route_pb.js";
import type { DeltaDiscoveryResponse } from "../../../proto/gen/envoy/service/discovery/v3/discovery_pb.js";
import { createDeltaSession, type DeltaSession } from "../../../xds/delta-session.ts";
import { createResource, type Resource } from "../../../xds/resource.ts";
import { createResourceSet, type ResourceSet } from "../../../xds/resource-set.ts";
import { TYPE_URLS } from "../../../xds/type-urls.ts";
import { decode, request, resource } from "./xds-client-model.ts";

const { cluster, clusterLoadAssignment, listener, routeConfiguration, virtualHost } = TYPE_URLS;
const NAMES: Readonly<Record<string, readonly string[]>> = {
  [cluster]: ["a", "b"],
  [clusterLoadAssignment]: ["a", "b"],
  [listener]: ["l1", "l2"],
  [routeConfiguration]: ["80", "81"],
  [virtualHost]: ["80/x", "80/y", "81/x"],
};
const TYPES = Object.keys(NAMES);

type Step =
  | { readonly kind: "put"; readonly type: string; readonly name: string; readonly content: number }
  | { readonly kind: "remove"; readonly type: string; readonly name: string }
  | { readonly kind: "take" | "settle" | "reconnect" };

const place = fc.constantFrom(...TYPES.flatMap((type) => (NAMES[type] ?? []).map((name) => ({ type, name }))));
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.tuple(place, fc.nat(3)).map(([at, content]) => ({ kind: "put" as const, ...at, content })),
  place.map((at) => ({ kind: "remove" as const, ...at })),
  fc.constantFrom("take" as const, "take" as const, "settle" as const, "reconnect" as const).map((kind) => ({ kind })),
);

function made(type: string, name: string, content: number): Resource {
  if (type === routeConfiguration) {
    return createResource(type, name, toBinary(RouteConfigurationSchema, create(RouteConfigurationSchema, { name, vhds: {}, maxDirectResponseBodySizeBytes: content })));
  }
  if (type !== cluster) return resource(type, name, `${name} ${content}`);
  const message = create(ClusterSchema, { name, altStatName: `${content}`, clusterDiscoveryType: { case: "type", value: Cluster_DiscoveryType.EDS }, edsClusterConfig: {} });
  return createResource(type, name, toBinary(ClusterSchema, message));
}

/** A client as our agent is one: everything of each type, and answers that come late. */
function createAgentModel(view: ResourceSet) {
  const held = new Map(TYPES.map((type) => [type, new Map<string, string>()]));
  let unanswered: DeltaDiscoveryResponse[] = [];
  let session: DeltaSession | undefined;
  const connect = (): void => {
    session?.close();
    unanswered = [];
    session = createDeltaSession({ view, clock: { now: () => 0, elapsed: () => 0, after: () => () => undefined }, marksCompleteness: true, maxResponseBytes: 60, onReady: () => undefined });
    for (const type of TYPES) session.receive(request(type, { resourceNamesSubscribe: ["*"], initialResourceVersions: Object.fromEntries(held.get(type) ?? []) }));
  };
  const take = (): boolean => {
    const pieces = session?.next();
    if (pieces === undefined) return false;
    const response = decode(pieces);
    const ofType = held.get(response.typeUrl);
    for (const { name, version, resource: any } of response.resources) if (any === undefined) ofType?.delete(name); else ofType?.set(name, version);
    for (const name of response.removedResources) ofType?.delete(name);
    unanswered.push(response);
    return true;
  };
  const answer = (): boolean => {
    const late = unanswered;
    unanswered = [];
    for (const { typeUrl, nonce } of late) session?.receive(request(typeUrl, { responseNonce: nonce }));
    return late.length > 0;
  };
  connect();
  return {
    held,
    take,
    reconnect: connect,
    settle() {
      for (let turns = 0; ; turns += 1) {
        assert.ok(turns < 500, "the session never falls silent");
        const [isTaken, isAnswered] = [take(), answer()];
        if (!isTaken && !isAnswered) return;
      }
    },
  };
}

describe("delta session, while tables come and go", () => {
  it("ends with a client that asks for everything holding exactly what the set holds", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const set = createResourceSet();
        const client = createAgentModel(set);
        for (const one of steps) {
          if (one.kind === "put") set.update((transaction) => transaction.upsert(made(one.type, one.name, one.content)));
          else if (one.kind === "remove") set.update((transaction) => transaction.remove(one.type, one.name));
          else if (one.kind === "take") client.take();
          else if (one.kind === "settle") client.settle();
          else client.reconnect();
        }
        client.settle();
        const sorted = (entries: Iterable<readonly [string, string]>): unknown => [...entries].sort(([left], [right]) => (left < right ? -1 : 1));
        for (const type of TYPES) {
          assert.deepEqual(sorted(client.held.get(type) ?? []), sorted([...set.list(type)].map(({ name, version }) => [name, version] as const)), type);
        }
      }),
      { numRuns: 500 },
    );
  });
});
