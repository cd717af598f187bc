import assert from "node:assert/strict";
import { create, toBinary } from "@bufbuild/protobuf";
import { ClusterSchema, Cluster_DiscoveryType } from "../../../proto/gen/envoy/config/cluster/v3/cluster_pb.js";
import { createResource, routeConfigurationOf } from "../../../xds/resource.ts";
import { type Changes, createResourceSet, unionOf } from "../../../xds/resource-set.ts";
import { TYPE_URLS } from "../../../xds/type-urls.ts";
import { decode, resource } from "./xds-client-model.ts";

const { cluster, listener, virtualHost } = TYPE_URLS;

describe("resource", () => {
  it("is framed as Envoy's own encoding reads it, for names and bodies of any length", () => {
    for (const size of [0, 1, 127, 128, 20_000, 3_000_000]) {
      const one = createResource(cluster, "näme", Buffer.alloc(size, 7));
      const [read] = decode([one.encoded]).resources;
      assert.deepEqual([read?.name, read?.version, read?.resource?.typeUrl, read?.resource?.value.length], ["näme", one.version, cluster, size]);
      assert.equal(one.bytes.buffer, one.encoded.buffer, "one copy");
    }
  });

  it("knows the load assignment of a cluster with endpoint discovery, and of no other", () => {
    const encode = (type: Cluster_DiscoveryType, serviceName: string): string | undefined => {
      const message = create(ClusterSchema, { name: "c", clusterDiscoveryType: { case: "type", value: type }, edsClusterConfig: { serviceName } });
      return createResource(cluster, "c", toBinary(ClusterSchema, message)).loadAssignmentName;
    };
    assert.equal(encode(Cluster_DiscoveryType.EDS, ""), "c");
    assert.equal(encode(Cluster_DiscoveryType.EDS, "s"), "s");
    assert.equal(encode(Cluster_DiscoveryType.STATIC, "s"), undefined);
    assert.equal(routeConfigurationOf("15001/scope/host"), "15001/scope");
  });
});

describe("resource set", () => {
  it("tells each transaction once, and nothing where nothing changed", () => {
    const set = createResourceSet();
    const told: string[][] = [];
    set.watch((changes: Changes) => told.push([...changes].flatMap(([, names]) => [...names])));
    set.update((transaction) => {
      transaction.upsert(resource(cluster, "a"));
      transaction.upsert(resource(listener, "l"));
      transaction.upsert(resource(cluster, "a", "2"));
    });
    set.update((transaction) => transaction.upsert(resource(cluster, "a", "2")));
    set.update((transaction) => transaction.replaceAll(cluster, [resource(cluster, "b")]));
    set.update((transaction) => transaction.remove(cluster, "never"));
    assert.deepEqual(told, [["a", "l"], ["b", "a"]]);
    assert.equal(set.revision(), 2);
  });

  it("has one digest for one content, whatever the history", () => {
    const one = createResourceSet();
    const other = createResourceSet();
    one.update((transaction) => ["a", "b", "c"].forEach((name) => transaction.upsert(resource(cluster, name))));
    one.update((transaction) => transaction.remove(cluster, "c"));
    other.update((transaction) => ["b", "a"].forEach((name) => transaction.upsert(resource(cluster, name))));
    assert.equal(one.digest(cluster), other.digest(cluster));
    other.update((transaction) => transaction.upsert(resource(cluster, "a", "2")));
    assert.notEqual(one.digest(cluster), other.digest(cluster));
  });

  it("finds virtual hosts by table, and forgets them", () => {
    const set = createResourceSet();
    set.update((transaction) => ["r/a", "r/b", "s/a"].forEach((name) => transaction.upsert(resource(virtualHost, name))));
    set.update((transaction) => transaction.remove(virtualHost, "r/a"));
    assert.deepEqual([...set.virtualHostsOf("r")], ["r/b"]);
  });

  it("shows the first set's resource where two have one name, and the second's when it goes", () => {
    const own = createResourceSet();
    const shared = createResourceSet();
    const union = unionOf([own, shared]);
    shared.update((transaction) => ["a", "b"].forEach((name) => transaction.upsert(resource(cluster, name, "shared"))));
    own.update((transaction) => transaction.upsert(resource(cluster, "a", "own")));
    const content = (): string[] => [...union.list(cluster)].map(({ name, bytes }) => `${name} ${bytes.toString()}`).sort();
    assert.deepEqual(content(), ["a own", "b shared"]);
    own.update((transaction) => transaction.remove(cluster, "a"));
    assert.deepEqual(content(), ["a shared", "b shared"]);
  });
});
