import assert from "node:assert/strict";
import { controlPlaneSchema } from "../../../cli/control-plane/config.ts";

describe("registries of one configuration", () => {
  const complaints = (...registries: readonly object[]): string[] => {
    const parsed = controlPlaneSchema.safeParse({ registries });
    return parsed.success ? [] : parsed.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`);
  };

  it("have namespaces of their own", () => {
    assert.deepEqual(complaints({ kind: "consul" }, { kind: "kubernetes" }, { kind: "kubernetes", name: "east" }, { kind: "kubernetes", name: "west", namespacePrefix: "w-" }), []);
    assert.deepEqual(complaints({ kind: "kubernetes", name: "a" }, { kind: "kubernetes", name: "a-b" }), [
      "registries.1: its namespaces (a-b-…) may be those of a (a-…): give it another namespacePrefix",
    ]);
    assert.deepEqual(complaints({ kind: "kubernetes", name: "a-b" }, { kind: "kubernetes", name: "a" }).length, 1, "in either order");
    assert.deepEqual(complaints({ kind: "kubernetes", namespacePrefix: "con-" }, { kind: "consul", namespace: "con-sul" }), [
      "registries.1: its namespaces (con-sul) may be those of kubernetes (con-…): give it another namespace",
    ]);
    assert.equal(complaints({ kind: "consul", namespace: "con-sul" }, { kind: "kubernetes", namespacePrefix: "con-" }).length, 1);
    assert.deepEqual(complaints({ kind: "consul", name: "dc1" }, { kind: "consul", name: "dc2" }), [], "datacenters of one namespace are meant so");
  });

  it("always have a prefix that ends where the cluster's own name begins", () => {
    for (const namespacePrefix of ["", "-", "east", "East-"]) assert.equal(complaints({ kind: "kubernetes", namespacePrefix }).length, 1, namespacePrefix);
  });

  it("have none of the mesh's root namespace, whose policies hold everywhere", () => {
    assert.deepEqual(complaints({ kind: "kubernetes", name: "ironmesh" }), [
      "registries.0: its namespaces (ironmesh-…) may be the mesh's root namespace ironmesh-system: give it another namespacePrefix",
    ]);
    assert.deepEqual(complaints({ kind: "kubernetes", name: "ironmesh", namespacePrefix: "east-" }), []);
  });

  it("speak of other hosts only where their resources are read", () => {
    const resourceHosts = ["*.example.com", "api.bank.com"];
    assert.deepEqual(complaints({ kind: "kubernetes", resources: true, resourceHosts }), []);
    assert.deepEqual(complaints({ kind: "kubernetes", resourceHosts }), ["registries.0.resourceHosts: needs `resources: true`"]);
    for (const host of ["*", "Bank.com", "*.*.com", ""]) {
      assert.deepEqual(complaints({ kind: "kubernetes", resources: true, resourceHosts: [host] }), ["registries.0.resourceHosts.0: must be a DNS name in lower case, `*.` allowed"], host);
    }
  });

  it("have names of their own", () => {
    assert.deepEqual(complaints({ kind: "consul", name: "one" }, { kind: "kubernetes", name: "one" }), ["registries.1: another registry has the name one"]);
    for (const name of ["static", "hosts"]) assert.deepEqual(complaints({ kind: "kubernetes", name }), [`registries.0: the name ${name} is the mesh's own`]);
  });

  it("name nothing in the mesh's domain", () => {
    assert.match(complaints({ kind: "kubernetes", clusterDomain: "mesh.internal" }).join(), /lies in the mesh's own domain/);
    assert.match(complaints({ kind: "kubernetes", clusterDomain: "svc.mesh.internal" }).join(), /lies in the mesh's own domain/);
    assert.deepEqual(complaints({ kind: "kubernetes", clusterDomain: "notmesh.internal" }), []);
  });
});
