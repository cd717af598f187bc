import assert from "node:assert/strict";
import { describe, it } from "mocha";
import { type Claim, HostIndex } from "../../../../discovery/push/host-index.ts";

function claim(key: string, ...hosts: string[]): Claim<string> {
  return { key, hosts, namespace: key.split("/")[0] ?? "", resource: key };
}

function indexOf(...claims: Claim<string>[]): HostIndex<string> {
  const index = new HostIndex<string>([{ namespace: "root", prefix: "" }, { namespace: "east-root", prefix: "east-" }]);
  index.apply(claims.map((after) => ({ key: after.key, after })));
  return index;
}

describe("HostIndex", () => {
  it("prefers the service's own namespace, then the root namespace, then the order of names", () => {
    const index = indexOf(claim("z/own", "h.x"), claim("a/other", "h.x"), claim("root/mesh", "h.x"));
    assert.equal(index.find(["h.x"], "z"), "z/own");
    assert.equal(index.find(["h.x"], "q"), "root/mesh");
    const wide = [claim("a/other", "h.x"), claim("root/mesh", "h.x"), claim("east-root/cluster", "h.x")];
    assert.equal(indexOf(...wide).find(["h.x"], "east-shop"), "east-root/cluster");
    assert.equal(indexOf(...wide).find(["h.x"], "shop"), "root/mesh", "a cluster's root namespace is one for the cluster alone");
    assert.equal(indexOf(...wide.slice(0, 2)).find(["h.x"], "east-shop"), "root/mesh");
    assert.equal(indexOf(claim("c/2", "h.x"), claim("b/1", "h.x")).find(["h.x"], "q"), "b/1");
  });

  it("prefers root namespaces to any other, however many clusters there are", () => {
    const clusters = Array.from({ length: 12 }, (_, at) => ({ namespace: `c${at}-root`, prefix: `c${at}-` }));
    const index = new HostIndex<string>([...clusters, { namespace: "root", prefix: "" }]);
    index.apply([claim("a/other", "h.x"), claim("root/mesh", "h.x")].map((after) => ({ key: after.key, after })));
    assert.equal(index.find(["h.x"], "c3-shop"), "root/mesh");
  });

  it("prefers the mesh's own word to that of a cluster that may speak of a foreign host too", () => {
    const index = indexOf({ ...claim("east-shop/a", "h.x"), confined: { prefix: "east-", hosts: new Set() } }, claim("ops/b", "h.x"));
    assert.equal(index.find(["h.x"], "prod"), "ops/b");
    assert.equal(index.find(["h.x"], "east-shop"), "east-shop/a");
  });

  it("prefers an exact host to a wildcard, and the longer wildcard to the shorter", () => {
    const index = indexOf(claim("a/short", "*.x"), claim("a/long", "*.b.x"), claim("a/exact", "a.b.x"));
    assert.equal(index.find(["a.b.x"], "a"), "a/exact");
    assert.equal(index.find(["c.b.x"], "a"), "a/long");
    assert.equal(index.find(["c.x"], "a"), "a/short");
    assert.equal(index.find(["c.y"], "a"), undefined);
  });

  it("finds what was written for any of a service's names, ranked as if it were for one", () => {
    const index = indexOf(claim("a/native", "web.service.consul"), claim("shop/canonical", "web.shop.svc.x"), claim("shop/wide", "*.svc.x"));
    assert.equal(index.find(["web.shop.svc.x", "web.service.consul"], "a"), "a/native");
    assert.equal(index.find(["web.shop.svc.x", "web.service.consul"], "shop"), "shop/canonical");
    assert.equal(index.find(["db.service.consul", "db.shop.svc.x"], "shop"), "shop/wide");
  });

  it("takes no confined claim for a service that is elsewhere under that name", () => {
    const confined = (key: string, ...hosts: string[]): Claim<string> => ({ ...claim(key, ...hosts), confined: { prefix: "east-", hosts: new Set(hosts.filter((host) => host !== "free.x")) } });
    const index = indexOf(confined("east-shop/own", "h.x", "free.x"), confined("east-shop/wild", "*.b.x"), claim("a/short", "*.x"));
    assert.equal(index.find(["h.x"], "east-shop"), "east-shop/own");
    assert.equal(index.find(["h.x", "joined"], "shop"), "a/short");
    assert.equal(index.find(["free.x"], "shop"), "east-shop/own");
    assert.equal(index.find(["c.b.x"], "east-other"), "east-shop/wild");
    assert.equal(index.find(["c.b.x"], "shop"), "a/short", "the next wildcard that holds");
  });

  it("names the hosts of both sides of a change, and forgets what was removed", () => {
    const index = indexOf(claim("a/r", "one.x", "two.x"));
    const touched = index.apply([{ key: "a/r", before: claim("a/r", "one.x", "two.x"), after: claim("a/r", "two.x", "three.x") }]);
    assert.deepEqual([...touched].sort(), ["one.x", "three.x", "two.x"]);
    assert.equal(index.find(["one.x"], "a"), undefined);
    assert.equal(index.find(["three.x"], "a"), "a/r");
  });
});
