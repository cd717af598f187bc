import assert from "node:assert/strict";
import { createSameness } from "../../../../discovery/catalog/sameness.ts";
import type { Claim } from "../../../../discovery/catalog/claims.ts";
import { createTies } from "../../../../discovery/catalog/ties.ts";
import type { RegistryService } from "../../../../discovery/registry/registry.ts";
import { foreignService, plainWorkload } from "../../../support/plain-registry.ts";

describe("what a service has a say in", () => {
  const rule = { of: [{ registry: "files", namespace: "default", name: "*" }, { registry: "consul", namespace: "consul", name: "*" }], allowPlaintext: false };
  const claims = new Map<string, readonly Claim[]>();
  const tiesOf = createTies({
    sameness: createSameness([rule]),
    meshDomain: "mesh.internal",
    isVirtual: (address) => address.startsWith("240.240."),
    isOpened: (registry) => registry === "open",
    claimsOf: (key) => claims.get(key) ?? [],
  });
  const ties = (registry: string, changes: Partial<RegistryService> = {}, namespace = "shop"): string[] | undefined => {
    const found = tiesOf({ id: "0 web", registry }, foreignService(namespace, "web", { aliases: [], ...changes }));
    return found && [...new Set(found)].sort();
  };
  const selector = (...registries: string[]): Partial<RegistryService> => ({ backends: { kind: "selector", labels: {}, registries } });

  it("is its key, and each name and address that it claims; what is the same for short is one", () => {
    assert.deepEqual(ties("east", { aliases: ["web.service.consul", "x.shop.svc"], addresses: ["10.0.0.1"] }), ["10.0.0.1", "web.service.consul", "web.shop", "x.shop"]);
    assert.deepEqual(ties("east", { hostname: "web.example.com", aliases: ["x.shop.svc.mesh.internal"] }), ["web.example.com", "web.shop", "x.shop"]);
  });

  it("is a name of whose namespace the mesh's own ending is made", () => {
    const has = (left: readonly string[] = [], right: readonly string[] = []): boolean => left.some((one) => right.includes(one));
    const canonical = ties("east", { hostname: "web.svc.svc.mesh.internal" }, "svc");
    for (const hostname of ["web.svc", "web.svc.svc", "web.svc.svc.mesh.internal"]) assert.ok(has(canonical, ties("files", { hostname }, "other")), hostname);
  });

  it("is the service, too, that a rule makes it part of, and of a host its name", () => {
    assert.deepEqual(ties("consul", {}, "consul"), ["web.consul", "web.default"]);
    assert.deepEqual(ties("consul", { name: "a.example.com", hostname: "b.example.com" }, "consul"), ["a.example.com", "a.example.com.consul", "a.example.com.default", "b.example.com"]);
  });

  it("is the instances of a namespace that a selector may see", () => {
    assert.deepEqual(ties("open"), ["instances open shop", "web.shop"]);
    assert.deepEqual(ties("files", selector("open")), ["instances open shop", "web.shop"]);
    const elsewhere: Partial<RegistryService> = { backends: { kind: "explicit", workloads: [plainWorkload("10.0.0.1", { namespace: "other" }), plainWorkload("10.0.0.2", { namespace: "other" })] } };
    assert.deepEqual(ties("open", elsewhere), ["instances open other", "web.shop"]);
    assert.deepEqual(ties("files", selector()), ["web.shop"]);
  });

  it("is what others have, too, who claim the same service", () => {
    const claim = (id: string, changes: Partial<RegistryService>): Claim => ({ id, registry: "files", precedence: 0, service: foreignService("default", "web", { aliases: [], ...changes }) });
    claims.set("default/web", [claim("0 web", { aliases: ["old.example.com"] }), claim("0 other", { aliases: ["other.example.com"], ...selector("open") })]);
    assert.deepEqual(ties("consul", {}, "consul"), ["instances open default", "other.example.com", "web.consul", "web.default"]);
    claims.set("default/web", [claim("0 other", { aliases: ["*.example.com"] })]);
    assert.equal(ties("consul", {}, "consul"), undefined);
    claims.clear();
  });

  it("may be anything: of a wildcard, a virtual address of the mesh, and a selector that sees what none saw before", () => {
    assert.equal(ties("files", { hostname: "*.example.com" }), undefined);
    assert.equal(ties("files", { aliases: ["*.example.com"] }), undefined);
    assert.equal(ties("files", { addresses: ["240.240.0.1"] }), undefined);
    assert.equal(ties("files", selector("east")), undefined);
  });
});
