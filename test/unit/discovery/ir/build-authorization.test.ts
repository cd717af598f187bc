import assert from "node:assert/strict";
import { buildAuthorization } from "../../../../discovery/ir/build-authorization.ts";
import { resource } from "../../../support/resource.ts";

const target = { namespace: "default", labels: { app: "web" }, rootNamespaces: ["mesh-system"] };

describe("buildAuthorization", () => {
  it("holds the policies of the own and the root namespace that select the workload, by action", () => {
    const policies = [
      resource("AuthorizationPolicy", "b", { selector: { matchLabels: { app: "web" } }, rules: [{}] }),
      resource("AuthorizationPolicy", "a", {}),
      resource("AuthorizationPolicy", "other-workload", { selector: { matchLabels: { app: "db" } } }),
      resource("AuthorizationPolicy", "elsewhere", {}, { namespace: "shop" }),
      resource("AuthorizationPolicy", "mesh-wide", { action: "DENY" }, { namespace: "mesh-system" }),
    ];
    const { allow, deny } = buildAuthorization(policies, target);
    assert.deepEqual(allow.map(({ name, rules }) => [name, rules.length]), [["default/a", 0], ["default/b", 1]]);
    assert.deepEqual(deny.map(({ name }) => name), ["mesh-system/mesh-wide"]);
  });

  it("reads Istio's wildcards", () => {
    const policy = resource("AuthorizationPolicy", "a", {
      rules: [{ from: [{ source: { principals: ["*", "mesh.internal/*", "*/sa/web", "mesh.internal/ns/a/sa/b"] } }], to: [{ operation: { ports: ["80"], paths: ["/api/*"] } }] }],
    });
    const [rule] = buildAuthorization([policy], target).allow[0]?.rules ?? [];
    assert.deepEqual(rule?.from[0]?.principals, [
      { kind: "present" },
      { kind: "prefix", value: "mesh.internal/" },
      { kind: "suffix", value: "/sa/web" },
      { kind: "exact", value: "mesh.internal/ns/a/sa/b" },
    ]);
    assert.deepEqual([rule?.to[0]?.ports, rule?.to[0]?.paths], [[80], [{ kind: "prefix", value: "/api/" }]]);
  });
});
