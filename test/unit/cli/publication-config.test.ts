import assert from "node:assert/strict";
import { controlPlaneSchema } from "../../../cli/control-plane/config.ts";

describe("the configuration of publishing", () => {
  const complaints = (publish: object, ...others: readonly object[]): string[] => {
    const parsed = controlPlaneSchema.safeParse({ registries: [{ kind: "consul", publish }, ...others] });
    return parsed.success ? [] : parsed.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`);
  };

  it("is off unless it is there, and then about hosts", () => {
    const [without] = controlPlaneSchema.parse({ registries: [{ kind: "consul" }] }).registries;
    assert.equal(without?.kind === "consul" && without.publish, undefined);
    const [withIt] = controlPlaneSchema.parse({ registries: [{ kind: "consul", publish: {} }] }).registries;
    assert.deepEqual(withIt?.kind === "consul" && withIt.publish, { from: ["hosts"], name: "{name}", node: "ironmesh", tags: [] });
  });

  it("names a template that is none", () => {
    assert.deepEqual(complaints({ name: "mesh-{name}-{namespace}" }), []);
    assert.deepEqual(complaints({ name: "mesh" }), ["registries.0.publish.name: must contain {name}"]);
    for (const name of ["{name}.x", "{name}-{host}", "Mesh-{name}"]) assert.deepEqual(complaints({ name }), ["registries.0.publish.name: may have lower-case letters, digits, hyphens, {name} and {namespace}"], name);
  });

  it("names a node that Consul's DNS could not", () => {
    for (const node of ["", "a.b", "-a", "a b", "a\"b"]) assert.deepEqual(complaints({ node }), ["registries.0.publish.node: must be a DNS label"], node);
  });

  it("publishes out of registries that there are, and never out of the Consul itself", () => {
    assert.deepEqual(complaints({ from: ["hosts", "static", "kubernetes"] }, { kind: "kubernetes" }), []);
    assert.deepEqual(complaints({ from: ["consul"] }), ["registries.0.publish.from.0: a Consul's own services are not published in it again"]);
    assert.deepEqual(complaints({ from: ["hosts", "kubernetes"] }), ["registries.0.publish.from.1: there is no registry kubernetes; there are static, hosts"]);
    assert.equal(complaints({ from: [] }).length, 1);
  });

  it("knows no other field", () => {
    assert.match(complaints({ prefix: "x" }).join(), /registries\.0\.publish: Unrecognized key: "prefix"/);
  });
});
