import assert from "node:assert/strict";
import fc from "fast-check";
import { Names } from "../../../../discovery/catalog/names.ts";
import type { NameChanges, NameClaim } from "../../../../discovery/catalog/names.ts";

const PORT = 80;

function claim(hosts: readonly string[], changes: Partial<NameClaim> = {}): NameClaim {
  return { hosts, shortHosts: [], addresses: [], isCanonical: true, precedence: 0, ...changes };
}

describe("names", () => {
  it("gives a registry's own names precedence over a host that somebody declared", () => {
    const names = new Names();
    names.apply([{ key: "a/declared", after: claim(["web.service.consul"], { isCanonical: false }) }]);
    assert.equal(names.find("web.service.consul"), "a/declared");
    names.apply([{ key: "consul/web", after: claim(["web.consul.svc.mesh.internal", "web.service.consul"], { precedence: 9 }) }]);
    assert.equal(names.find("web.service.consul"), "consul/web");
    assert.deepEqual(names.lost("a/declared"), [{ host: "web.service.consul", owner: "consul/web" }]);
    names.apply([{ key: "consul/web" }]);
    assert.equal(names.find("web.service.consul"), "a/declared");
  });

  it("prefers hostname, alias, declared host, short name, address; then the registry; then the key", () => {
    const order: [string, NameClaim][] = [
      ["z/hostname", claim(["x.y"], { precedence: 5 })],
      ["z/alias", claim(["other.1", "x.y"], { precedence: 4 })],
      ["z/declared", claim(["x.y"], { isCanonical: false, precedence: 3 })],
      ["z/short", claim(["other.2"], { shortHosts: ["x.y"], precedence: 2 })],
      ["z/address", claim(["other.3"], { addresses: ["x.y"], precedence: 1 })],
      ["b/declared-address", claim(["other.4"], { addresses: ["x.y"], isCanonical: false, precedence: 0 })],
      ["c/same-by-key", claim(["other.5"], { addresses: ["x.y"], isCanonical: false, precedence: 0 })],
    ];
    const names = new Names();
    names.apply(order.toReversed().map(([key, after]) => ({ key, after })));
    for (const [key] of order) {
      assert.equal(names.ownerOf("x.y"), key);
      names.apply([{ key }]);
    }
    assert.equal(names.ownerOf("x.y"), undefined);
  });

  it("finds the longest wildcard above a name that nobody has", () => {
    const names = new Names();
    names.apply([
      { key: "a/wide", after: claim(["*.example.com"], { isCanonical: false }) },
      { key: "a/narrow", after: claim(["*.eu.example.com"], { isCanonical: false }) },
      { key: "a/exact", after: claim(["api.eu.example.com"], { isCanonical: false }) },
    ]);
    assert.equal(names.find("api.eu.example.com"), "a/exact");
    assert.equal(names.find("db.eu.example.com"), "a/narrow");
    assert.equal(names.find("a.b.eu.example.com"), "a/narrow");
    assert.equal(names.find("www.example.com"), "a/wide");
    assert.equal(names.find("example.com"), undefined);
  });

  it("tells whose names changed hands, and nothing when none did", () => {
    const names = new Names();
    const told: NameChanges[] = [];
    names.apply([{ key: "b/x", after: claim(["x.y"]) }]);
    names.subscribe((changed) => told.push(changed));
    names.apply([{ key: "b/x", after: claim(["x.y"]) }]);
    assert.deepEqual(told, []);
    names.apply([{ key: "a/x", after: claim(["x.y"]) }]);
    assert.deepEqual(told, [{ hosts: new Set(["x.y"]), services: new Set(["a/x", "b/x"]), claimants: new Set(["a/x", "b/x"]), heirs: new Set(["a/x"]) }]);
  });

  it("gives a domain to one service only, and the same whatever the order of events (property)", () => {
    const name = fc.constantFrom("a.b", "c.d", "10.0.0.1", "*.d", "e");
    const claims = fc.record({
      hosts: fc.uniqueArray(name, { minLength: 1, maxLength: 3 }),
      shortHosts: fc.uniqueArray(name, { maxLength: 2 }),
      addresses: fc.uniqueArray(name, { maxLength: 2 }),
      isCanonical: fc.boolean(),
      precedence: fc.nat(2),
    });
    const key = fc.constantFrom("n/1", "n/2", "n/3", "m/1");
    fc.assert(
      fc.property(fc.array(fc.tuple(key, fc.option(claims, { nil: undefined })), { maxLength: 30 }), (events) => {
        const names = new Names();
        for (const [key, after] of events) names.apply([after === undefined ? { key } : { key, after }]);
        const last = new Map(events);
        const fresh = new Names();
        fresh.apply([...last].toReversed().map(([key, after]) => (after === undefined ? { key } : { key, after })));
        const owned: string[] = [];
        for (const service of ["n/1", "n/2", "n/3", "m/1"]) {
          assert.deepEqual(names.domains(service, PORT), fresh.domains(service, PORT));
          assert.deepEqual(names.lost(service), fresh.lost(service));
          owned.push(...names.domains(service, PORT));
        }
        assert.equal(new Set(owned).size, owned.length, "a domain twice");
        for (const domain of owned) assert.ok(names.domains(names.ownerOf(domain) ?? "", PORT).includes(domain));
      }),
    );
  });
});
