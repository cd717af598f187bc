import assert from "node:assert/strict";
import { create, toBinary } from "@bufbuild/protobuf";
import { ClusterSchema, Cluster_DiscoveryType } from "../../../proto/gen/envoy/config/cluster/v3/cluster_pb.js";
import { RouteConfigurationSchema } from "../../../proto/gen/envoy/config/route/v3/route_pb.js";
import type { DeltaDiscoveryResponse } from "../../../proto/gen/envoy/service/discovery/v3/discovery_pb.js";
import { createDeltaSession, type DeltaSession, type DeltaSessionOptions } from "../../../xds/delta-session.ts";
import { createResource, type Resource } from "../../../xds/resource.ts";
import { createResourceSet, type ResourceSet } from "../../../xds/resource-set.ts";
import { TYPE_URLS } from "../../../xds/type-urls.ts";
import { decode, request, resource, summary } from "./xds-client-model.ts";

const { cluster, clusterLoadAssignment, listener, routeConfiguration, virtualHost, secret } = TYPE_URLS;

function edsCluster(name: string, serviceName = "", altStatName = ""): Resource {
  const message = create(ClusterSchema, {
    name,
    altStatName,
    clusterDiscoveryType: { case: "type", value: Cluster_DiscoveryType.EDS },
    edsClusterConfig: { serviceName },
  });
  return createResource(cluster, name, toBinary(ClusterSchema, message));
}

function vhdsTable(name: string): Resource {
  return createResource(routeConfiguration, name, toBinary(RouteConfigurationSchema, create(RouteConfigurationSchema, { name, vhds: {} })));
}

describe("delta session", () => {
  let set: ResourceSet;
  let session: DeltaSession;
  let now: number;
  let nacks: string[];
  const start = (options: Partial<DeltaSessionOptions> = {}): void => {
    session = createDeltaSession({
      view: set,
      clock: { now: () => now, elapsed: () => now, after: () => () => undefined },
      onReady: () => undefined,
      onNack: ({ resources, isFinal }) => nacks.push(`${isFinal ? "final " : ""}${resources.map(({ name }) => name).join(" ")}`),
      ...options,
    });
  };
  const versionOf = (type: string, name: string): string => set.get(type, name)?.version ?? "";
  const put = (...resources: Resource[]): void => set.update((transaction) => resources.forEach((one) => transaction.upsert(one)));
  const remove = (...keys: [string, string][]): void => set.update((transaction) => keys.forEach(([type, name]) => transaction.remove(type, name)));
  const take = (): DeltaDiscoveryResponse[] => {
    const responses: DeltaDiscoveryResponse[] = [];
    for (let pieces = session.next(); pieces !== undefined; pieces = session.next()) responses.push(decode(pieces));
    return responses;
  };
  const sent = (): string[] => take().map(summary);
  const ack = (response: DeltaDiscoveryResponse, nack?: string): void =>
    session.receive(request(response.typeUrl, { responseNonce: response.nonce }, nack));
  /** Takes and acknowledges until there is silence. */
  const settle = (): string[] => {
    const lines: string[] = [];
    for (let responses = take(); responses.length > 0; responses = take()) {
      for (const response of responses) {
        lines.push(summary(response));
        ack(response);
      }
    }
    return lines;
  };
  beforeEach(() => {
    set = createResourceSet();
    now = 0;
    nacks = [];
  });

  it("serves a wildcard by `*` and by an empty first request, an empty one too, and names only what is named", () => {
    put(resource(cluster, "a"), resource(cluster, "b"), resource(listener, "l"));
    start();
    session.receive(request(cluster));
    session.receive(request(listener, { resourceNamesSubscribe: ["*"] }));
    session.receive(request(secret, { resourceNamesSubscribe: ["s"] }));
    session.receive(request(TYPE_URLS.runtime));
    assert.deepEqual(settle(), ["secret -s", "cluster +a +b", "runtime", "listener +l"]);
    put(resource(secret, "s"), resource(secret, "t"));
    assert.deepEqual(settle(), ["secret +s"]);
    assert.deepEqual(settle(), []);
  });

  it("sends to a returning client what differs, and removals for what is gone", () => {
    put(resource(cluster, "same"), resource(cluster, "new"), resource(cluster, "changed"));
    start();
    const versions = { same: set.get(cluster, "same")?.version ?? "", changed: "old", gone: "old" };
    session.receive(request(cluster, { initialResourceVersions: versions }));
    session.receive(request(clusterLoadAssignment, { resourceNamesSubscribe: ["e"], initialResourceVersions: { e: "old" } }));
    assert.deepEqual(settle(), ["cluster +new +changed", "clusterLoadAssignment -e", "cluster -gone"]);
    start();
    session.receive(request(cluster, { initialResourceVersions: Object.fromEntries([...set.list(cluster)].map(({ name, version }) => [name, version])) }));
    assert.deepEqual(settle(), [], "no churn");
  });

  it("gathers changes while nothing is taken", () => {
    start();
    session.receive(request(cluster));
    settle();
    put(resource(cluster, "a", "1"));
    put(resource(cluster, "a", "2"), resource(cluster, "b"));
    remove([cluster, "b"]);
    // A session keeps no versions, so it may remove what was never sent; that costs the client nothing.
    assert.deepEqual(settle(), ["cluster +a", "cluster -b"]);
  });

  it("sends the endpoints right behind a changed cluster, by service name, before the next part of a split push", () => {
    put(edsCluster("a", "svc-a"), edsCluster("b"), resource(clusterLoadAssignment, "svc-a"), resource(clusterLoadAssignment, "b"));
    start({ maxResponseBytes: 10 });
    session.receive(request(cluster));
    session.receive(request(clusterLoadAssignment, { resourceNamesSubscribe: ["svc-a", "b", "c"] }));
    settle();
    put(edsCluster("a", "svc-a", "x"), edsCluster("b", "", "x"), edsCluster("c"));
    assert.deepEqual(settle(), [
      "cluster +a",
      "clusterLoadAssignment +svc-a",
      "cluster +b",
      "clusterLoadAssignment +b",
      "cluster +c",
      "clusterLoadAssignment -c",
    ]);
  });

  it("makes before it breaks: referrers wait for the ACK of clusters, deletions for the ACK of referrers", () => {
    put(resource(cluster, "old"), resource(listener, "l"), resource(routeConfiguration, "r", "to old"));
    start();
    for (const type of [cluster, listener]) session.receive(request(type));
    session.receive(request(routeConfiguration, { resourceNamesSubscribe: ["r"] }));
    settle();
    set.update((transaction) => {
      transaction.remove(cluster, "old");
      transaction.upsert(resource(cluster, "new"));
      transaction.upsert(resource(routeConfiguration, "r", "to new"));
    });
    const [clusters, ...none] = take();
    assert.deepEqual([summary(clusters!), none], ["cluster +new", []]);
    ack(clusters!);
    const [routes, ...rest] = take();
    assert.deepEqual([summary(routes!), rest], ["routeConfiguration +r", []]);
    ack(routes!, "bad route");
    assert.deepEqual(sent(), [], "Envoy still routes to the old cluster");
    put(resource(routeConfiguration, "r", "to new, well"));
    assert.deepEqual(settle(), ["routeConfiguration +r", "cluster -old"]);
  });

  it("goes on without the ACK of a cluster that does not get warm", () => {
    start();
    for (const type of [cluster, listener]) session.receive(request(type));
    settle();
    put(resource(cluster, "cold"), resource(listener, "l"));
    assert.deepEqual(sent(), ["cluster +cold"]);
    now = 5001;
    assert.deepEqual(sent(), ["listener +l"]);
  });

  it("finds the culprit of a refused response, delivers the others, and does not send it again before it changes", () => {
    start();
    session.receive(request(listener));
    settle();
    put(...["a", "b", "bad", "c", "d"].map((name) => resource(listener, name)));
    const held = new Set<string>();
    for (let responses = take(); responses.length > 0; responses = take()) {
      for (const response of responses) {
        const names = response.resources.map(({ name }) => name);
        const isBad = names.includes("bad");
        if (!isBad) names.forEach((name) => held.add(name));
        ack(response, isBad ? "no such filter" : undefined);
      }
    }
    assert.deepEqual([...held].sort(), ["a", "b", "c", "d"]);
    assert.deepEqual(nacks.at(-1), "final bad");
    const [status] = session.status();
    assert.equal(status?.state, "REJECTED");
    assert.deepEqual(status?.rejected, [{ name: "bad", version: set.get(listener, "bad")?.version, message: "no such filter" }]);
    put(resource(listener, "a", "2"));
    assert.deepEqual(settle(), ["listener +a"]);
    put(resource(listener, "bad", "good now"));
    assert.deepEqual(settle(), ["listener +bad"]);
    assert.equal(session.status()[0]?.state, "SYNCED");
  });

  it("says again what does not exist where that went with a refused response", () => {
    put(resource(clusterLoadAssignment, "a", "bad"));
    start();
    session.receive(request(clusterLoadAssignment, { resourceNamesSubscribe: ["a", "b"], initialResourceVersions: { b: "1" } }));
    const [refused] = take();
    assert.ok(refused);
    assert.equal(summary(refused), "clusterLoadAssignment +a -b");
    ack(refused, "bad");
    const [again] = take();
    assert.ok(again);
    assert.equal(summary(again), "clusterLoadAssignment -b");
    ack(again, "whatever is said");
    assert.deepEqual(settle(), [], "once");
  });

  it("tells who asks for all virtual hosts of all, also while their tables are away", () => {
    put(resource(virtualHost, "80/old", "1"), resource(virtualHost, "80/web", "1"));
    start({ marksCompleteness: true });
    for (const type of [routeConfiguration, virtualHost]) session.receive(request(type, { resourceNamesSubscribe: ["*"] }));
    assert.deepEqual(settle(), ["routeConfiguration", "virtualHost +80/old +80/web"]);
    remove([virtualHost, "80/old"]);
    put(resource(virtualHost, "80/web", "2"));
    assert.deepEqual(settle(), ["virtualHost +80/web -80/old"]);
    put(vhdsTable("80"));
    assert.deepEqual(settle(), ["routeConfiguration +80"]);
    remove([routeConfiguration, "80"], [virtualHost, "80/web"]);
    assert.deepEqual(settle(), ["virtualHost -80/web", "routeConfiguration -80"]);
  });

  it("pushes virtual hosts for the tables that are subscribed, once Envoy listens for them", () => {
    put(vhdsTable("r"), vhdsTable("empty"), resource(routeConfiguration, "plain"), resource(virtualHost, "r/a"), resource(virtualHost, "other/a"));
    start();
    session.receive(request(routeConfiguration, { resourceNamesSubscribe: ["r", "plain"] }));
    assert.deepEqual(settle(), ["routeConfiguration +r +plain"]);
    session.receive(request(virtualHost));
    assert.deepEqual(settle(), ["virtualHost +r/a"]);
    session.receive(request(routeConfiguration, { resourceNamesSubscribe: ["empty"] }));
    assert.deepEqual(settle(), ["routeConfiguration +empty", "virtualHost -empty/none"]);
    set.update((transaction) => {
      transaction.remove(virtualHost, "r/a");
      transaction.upsert(resource(virtualHost, "r/b"));
      transaction.upsert(resource(virtualHost, "other/b"));
    });
    assert.deepEqual(settle(), ["virtualHost +r/b -r/a"], "a domain may move: one response");
    session.receive(request(virtualHost, { resourceNamesSubscribe: ["r/unknown.example"] }));
    assert.deepEqual(settle(), ["virtualHost ?r/unknown.example"]);
    session.receive(request(routeConfiguration, { resourceNamesUnsubscribe: ["r"] }));
    put(resource(virtualHost, "r/c"));
    assert.deepEqual(settle(), []);
    session.receive(request(routeConfiguration, { resourceNamesSubscribe: ["r"] }));
    assert.deepEqual(settle(), ["routeConfiguration +r", "virtualHost +r/b +r/c"]);
  });

  it("skips the virtual hosts that a returning Envoy holds, and removes those of tables that are gone", () => {
    put(vhdsTable("r"), resource(virtualHost, "r/a"), resource(virtualHost, "r/b"));
    start();
    session.receive(request(routeConfiguration, { resourceNamesSubscribe: ["r"], initialResourceVersions: { r: versionOf(routeConfiguration, "r") } }));
    session.receive(request(virtualHost, { initialResourceVersions: { "r/a": versionOf(virtualHost, "r/a"), "r/b": "old", "gone/x": "v" } }));
    assert.deepEqual(settle(), ["virtualHost +r/b -gone/x"]);
  });

  it("reads `*` of an on-demand type as nothing, and answers unknown names at once", () => {
    put(resource(cluster, "a"), resource(cluster, "b"));
    start({ onDemandTypes: [cluster] });
    session.receive(request(cluster, { resourceNamesSubscribe: ["*", "a", "none"] }));
    assert.deepEqual(settle(), ["cluster +a -none"]);
    put(resource(cluster, "b", "2"), resource(cluster, "none"));
    assert.deepEqual(settle(), ["cluster +none"]);
  });

  it("tells again what a wildcard still covers after a name is unsubscribed, and nothing more after `*` is", () => {
    put(resource(cluster, "a"));
    start();
    session.receive(request(cluster, { resourceNamesSubscribe: ["*", "a", "b"] }));
    settle();
    session.receive(request(cluster, { resourceNamesUnsubscribe: ["a"] }));
    assert.deepEqual(settle(), ["cluster +a"]);
    session.receive(request(cluster, { resourceNamesUnsubscribe: ["*"] }));
    put(resource(cluster, "a", "2"), resource(cluster, "b"));
    assert.deepEqual(settle(), ["cluster +b"]);
  });

  it("marks the response that completes a type with the set's digest", () => {
    put(resource(cluster, "a"), resource(cluster, "b"));
    start({ marksCompleteness: true, maxResponseBytes: 1 });
    session.receive(request(cluster, { resourceNamesSubscribe: ["*"] }));
    assert.deepEqual(take().map(({ systemVersionInfo }) => systemVersionInfo), ["", set.digest(cluster)]);
    assert.equal(session.status()[0]?.state, "STALE");
  });

  it("ends a stream that subscribes without measure", () => {
    start({ maxNames: 2 });
    assert.throws(() => session.receive(request(cluster, { resourceNamesSubscribe: ["a", "b", "c"] })), { status: "RESOURCE_EXHAUSTED" });
  });
});
