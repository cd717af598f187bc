import assert from "node:assert/strict";
import { create, toBinary } from "@bufbuild/protobuf";
import { Cluster_DiscoveryType, ClusterSchema } from "../../../proto/gen/envoy/config/cluster/v3/cluster_pb.js";
import type { DiscoveryResponse } from "../../../proto/gen/envoy/service/discovery/v3/discovery_pb.js";
import { createResource, type Resource } from "../../../xds/resource.ts";
import { createResourceSet, type ResourceSet } from "../../../xds/resource-set.ts";
import { createSotwSession, type SotwSession } from "../../../xds/sotw-session.ts";
import type { SessionOptions } from "../../../xds/stream-server.ts";
import { TYPE_URLS } from "../../../xds/type-urls.ts";
import { decodeSotw, resource, sotwRequest, sotwSummary } from "./xds-client-model.ts";

const { cluster, clusterLoadAssignment, listener, routeConfiguration, secret } = TYPE_URLS;

describe("state-of-the-world session", () => {
  let set: ResourceSet;
  let session: SotwSession;
  let nacks: string[];
  /** What the client asks for, by type: each request says it again. */
  let asked: Map<string, readonly string[]>;

  beforeEach(() => {
    set = createResourceSet();
    nacks = [];
    start();
  });
  const start = (options: Partial<SessionOptions> = {}): void => {
    asked = new Map();
    session = createSotwSession({
      view: set,
      clock: { now: () => 0, elapsed: () => 0, after: () => () => undefined },
      onReady: () => undefined,
      onNack: ({ message, resources }) => nacks.push(`${message}: ${resources.map(({ name }) => name).join(" ")}`),
      ...options,
    });
  };
  const put = (...resources: Resource[]): void => set.update((transaction) => resources.forEach((one) => transaction.upsert(one)));
  const remove = (...keys: [string, string][]): void => set.update((transaction) => keys.forEach(([type, name]) => transaction.remove(type, name)));
  const ask = (type: string, names: readonly string[] = [], nonce = ""): void => {
    asked.set(type, names);
    session.receive(sotwRequest(type, names, nonce));
  };
  const next = (): DiscoveryResponse | undefined => {
    const pieces = session.next();
    return pieces === undefined ? undefined : decodeSotw(pieces);
  };
  const take = (): DiscoveryResponse[] => {
    const responses: DiscoveryResponse[] = [];
    for (let response = next(); response !== undefined; response = next()) responses.push(response);
    return responses;
  };
  const ack = ({ typeUrl, nonce }: DiscoveryResponse, nack?: string): void => session.receive(sotwRequest(typeUrl, asked.get(typeUrl), nonce, nack));
  /** Takes and acknowledges until there is silence. */
  const settle = (): string[] => {
    const lines: string[] = [];
    for (let response = next(); response !== undefined; response = next()) {
      lines.push(sotwSummary(response));
      ack(response);
    }
    return lines;
  };
  const only = (): DiscoveryResponse => {
    const [response, ...others] = take();
    assert.ok(response !== undefined && others.length === 0);
    return response;
  };

  it("takes an empty first request for everything with clusters and listeners, and for nothing with the other types", () => {
    put(resource(cluster, "a"), resource(cluster, "b"), resource(routeConfiguration, "r"));
    ask(cluster);
    ask(listener);
    ask(routeConfiguration);
    assert.deepEqual(settle(), ["cluster a b", "listener"]);
    put(resource(listener, "l"), resource(routeConfiguration, "r", "r2"));
    assert.deepEqual(settle(), ["listener l"]);
  });

  it("takes `*` for everything with any type, and names beside it", () => {
    put(resource(routeConfiguration, "r"), resource(cluster, "a"));
    ask(routeConfiguration, ["*"]);
    ask(cluster, ["a", "*"]);
    assert.deepEqual(settle(), ["cluster a", "routeConfiguration r"]);
    put(resource(routeConfiguration, "s"), resource(cluster, "b"));
    assert.deepEqual(settle(), ["cluster a b", "routeConfiguration s"]);
  });

  it("understands an empty request as nothing once names were asked for, also after everything", () => {
    put(resource(cluster, "a"), resource(cluster, "b"));
    ask(cluster);
    settle();
    ask(cluster, ["a"]);
    assert.deepEqual(settle(), ["cluster a"]);
    ask(cluster, []);
    put(resource(cluster, "a", "a2"), resource(cluster, "c"));
    assert.deepEqual(settle(), []);
    ask(cluster, ["*"]);
    assert.deepEqual(settle(), ["cluster a2 b c"]);
  });

  it("sends all clusters and listeners at each change, of other types what changed", () => {
    put(resource(cluster, "a"), resource(cluster, "b"), resource(clusterLoadAssignment, "a"), resource(clusterLoadAssignment, "b"));
    ask(cluster);
    ask(clusterLoadAssignment, ["a", "b"]);
    assert.deepEqual(settle(), ["cluster a b", "clusterLoadAssignment a b"]);
    put(resource(cluster, "a", "a2"), resource(clusterLoadAssignment, "b", "b2"));
    assert.deepEqual(settle(), ["cluster a2 b", "clusterLoadAssignment b2"]);
    remove([cluster, "a"], [clusterLoadAssignment, "a"]);
    assert.deepEqual(settle(), ["cluster b"]);
    remove([cluster, "b"]);
    assert.deepEqual(settle(), ["cluster"], "an empty state is a state");
  });

  it("sends in the order clusters, endpoints, listeners, routes", () => {
    put(resource(cluster, "c"), resource(listener, "l"), resource(routeConfiguration, "r"), resource(clusterLoadAssignment, "c"));
    ask(routeConfiguration, ["r"]);
    ask(listener);
    ask(clusterLoadAssignment, ["c"]);
    ask(cluster);
    assert.deepEqual(settle(), ["cluster c", "clusterLoadAssignment c", "listener l", "routeConfiguration r"]);
  });

  it("answers names that do not exist at once, and sends them when they do", () => {
    put(resource(secret, "s"));
    ask(secret, ["none", "s"]);
    ask(cluster, ["none"]);
    assert.deepEqual(settle(), ["secret s", "cluster"]);
    put(resource(secret, "none"), resource(cluster, "none"), resource(cluster, "other"));
    assert.deepEqual(settle(), ["secret none", "cluster none"]);
  });

  it("sends what is asked for again, though it was sent before", () => {
    put(resource(clusterLoadAssignment, "a"), resource(clusterLoadAssignment, "b"));
    ask(clusterLoadAssignment, ["a", "b"]);
    const first = only();
    ask(clusterLoadAssignment, ["a"], first.nonce);
    assert.deepEqual(settle(), []);
    ask(clusterLoadAssignment, ["a", "b"]);
    assert.deepEqual(settle(), ["clusterLoadAssignment b"]);
    put(resource(clusterLoadAssignment, "a", "a2"));
    assert.deepEqual(settle(), ["clusterLoadAssignment a2"]);
  });

  it("gives equal states equal versions, and sends nothing where a change was taken back", () => {
    put(resource(cluster, "a", "1"), resource(cluster, "b"));
    ask(cluster);
    const first = only();
    ack(first);
    put(resource(cluster, "a", "2"));
    put(resource(cluster, "a", "1"));
    assert.deepEqual(settle(), []);
    put(resource(cluster, "a", "2"));
    const second = only();
    assert.notEqual(second.versionInfo, first.versionInfo);
    assert.notEqual(second.nonce, first.nonce);
    ack(second);
    remove([cluster, "a"], [cluster, "b"]);
    put(resource(cluster, "b"), resource(cluster, "a", "1"));
    assert.equal(only().versionInfo, first.versionInfo, "the same state in another order");
  });

  it("waits for the answer to a response before the next of that type, and gathers meanwhile", () => {
    ask(cluster);
    const first = only();
    put(resource(cluster, "a", "1"), resource(listener, "l"));
    put(resource(cluster, "a", "2"));
    ask(listener);
    assert.deepEqual(take().map(sotwSummary), ["listener l"]);
    ack(first);
    assert.deepEqual(take().map(sotwSummary), ["cluster 2"]);
  });

  it("adds nothing for a request that crossed a response, but notes what it drops", () => {
    put(...["a", "b", "c"].map((name) => resource(routeConfiguration, name)));
    ask(routeConfiguration, ["a"]);
    const first = only();
    ask(routeConfiguration, ["a", "b"], first.nonce);
    const second = only();
    ask(routeConfiguration, ["a", "b", "c"], first.nonce);
    assert.deepEqual(take(), [], "the answer comes with the right nonce");
    ask(routeConfiguration, ["b", "c"], first.nonce);
    ask(routeConfiguration, ["a", "b", "c"], second.nonce);
    assert.deepEqual(settle(), ["routeConfiguration a c"], "the client had dropped a in between");
  });

  it("keeps a refusal in the client's words, and sends all of it again when the culprit has changed or is gone", () => {
    put(resource(clusterLoadAssignment, "good"), resource(clusterLoadAssignment, "bad"));
    ask(clusterLoadAssignment, ["good", "bad"]);
    ack(only(), "no such port");
    assert.deepEqual(nacks, ["no such port: good bad"]);
    assert.equal(session.status()[0]?.state, "REJECTED");
    assert.equal(session.status()[0]?.lastNack?.message, "no such port");
    assert.deepEqual(settle(), [], "the same is not sent again");
    put(resource(clusterLoadAssignment, "bad", "better"));
    ack(only(), "still not");
    remove([clusterLoadAssignment, "bad"]);
    assert.deepEqual(settle(), ["clusterLoadAssignment good"]);
    assert.equal(session.status()[0]?.state, "SYNCED");
  });

  it("sends a changed cluster's endpoints behind it, though they did not change", () => {
    const eds = (name: string, altStatName: string): Resource => {
      const type = { case: "type", value: Cluster_DiscoveryType.EDS } as const;
      const message = create(ClusterSchema, { name, altStatName, clusterDiscoveryType: type, edsClusterConfig: { serviceName: `of-${name}` } });
      return createResource(cluster, name, toBinary(ClusterSchema, message));
    };
    put(eds("a", ""), eds("b", ""), resource(clusterLoadAssignment, "of-a"), resource(clusterLoadAssignment, "of-b"));
    ask(cluster);
    ask(clusterLoadAssignment, ["of-a", "of-b"]);
    settle();
    put(eds("a", "x"));
    const lines = settle();
    assert.equal(lines.length, 2);
    assert.equal(lines[1], "clusterLoadAssignment of-a");
  });

  it("leaves nothing behind for a client that asks again and again and acknowledges nothing", () => {
    put(resource(secret, "a"), resource(secret, "b"));
    for (let round = 0; round < 100; round += 1) {
      ask(secret, [round % 2 === 0 ? "a" : "b"]);
      assert.equal(take().length, 1);
    }
    assert.equal(session.status()[0]?.unacknowledged, 16);
  });

  it("ends a stream that names no type, too many types, or too many resources", () => {
    assert.throws(() => session.receive(sotwRequest("", ["a"])), { status: "INVALID_ARGUMENT" });
    start({ maxNames: 3 });
    ask(secret, ["a", "b"]);
    ask(secret, ["c", "d", "e"]);
    assert.throws(() => ask(cluster, ["f"]), { status: "RESOURCE_EXHAUSTED" });
    start();
    const types = (count: number): void => Array.from({ length: count }, (_, index) => `type ${index}`).forEach((type) => ask(type, ["a"]));
    types(64);
    assert.throws(() => types(65), { status: "RESOURCE_EXHAUSTED", message: /types/u });
  });

  it("answers a type that it does not know without resources", () => {
    ask("type.googleapis.com/nobody.knows.This", ["x"]);
    assert.deepEqual(settle(), ["type.googleapis.com/nobody.knows.This"]);
  });
});
