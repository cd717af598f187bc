import assert from "node:assert/strict";
import { createSameness } from "../../../../discovery/catalog/sameness.ts";
import { createTies } from "../../../../discovery/catalog/ties.ts";
import type { RegistryService } from "../../../../discovery/registry/registry.ts";
import { foreignService } from "../../../support/plain-registry.ts";

describe("what a service has a say in", () => {
  const rule = { of: [{ registry: "files", namespace: "default", name: "*" }, { registry: "consul", namespace: "consul", name: "*" }], allowPlaintext: false };
  const tiesOf = createTies({
    sameness: createSameness([rule]),
    meshDomain: "mesh.internal",
    isVirtual: (address) => address.startsWith("240.240."),
    isOpened: (registry) => registry === "open",
  });
  const ties = (registry: string, changes: Partial<RegistryService> = {}, namespace = "shop"): string[] | undefined => {
    const found = tiesOf(registry, foreignService(namespace, "web", { aliases: [], ...changes }));
    return found && [...new Set(found)].sort();
  };
  const selector = (...registries: string[]): Partial<RegistryService> => ({ backends: { kind: "selector", labels: {}, registries } });

  it("is its key, and each name and address that it claims; what is the same for short is one", () => {
    assert.deepEqual(ties("east", { aliases: ["web.service.consul", "x.shop.svc"], addresses: ["10.0.0.1"] }), ["10.0.0.1", "web.service.consul", "web.shop", "x.shop"]);
    assert.deepEqual(ties("east", { hostname: "web.example.com", aliases: ["x.shop.svc.mesh.internal"] }), ["web.example.com", "web.shop", "x.shop"]);
  });

  it("is the service, too, that a rule makes it part of", () => {
    assert.deepEqual(ties("consul", {}, "consul"), ["web", "web.consul", "web.default"]);
  });

  it("is the instances of a namespace that a selector may see", () => {
    assert.deepEqual(ties("open"), ["instances open shop", "web.shop"]);
    assert.deepEqual(ties("files", selector("open")), ["instances open shop", "web.shop"]);
    assert.deepEqual(ties("files", selector()), ["web.shop"]);
  });

  it("may be anything: of a wildcard, a virtual address of the mesh, and a selector that sees what none saw before", () => {
    assert.equal(ties("files", { hostname: "*.example.com" }), undefined);
    assert.equal(ties("files", { aliases: ["*.example.com"] }), undefined);
    assert.equal(ties("files", { addresses: ["240.240.0.1"] }), undefined);
    assert.equal(ties("files", selector("east")), undefined);
  });
});
