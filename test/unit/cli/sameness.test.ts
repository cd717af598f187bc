import assert from "node:assert/strict";
import { controlPlaneSchema } from "../../../cli/control-plane/config.ts";

const REGISTRIES = [
  { kind: "consul" },
  { kind: "kubernetes", name: "east", kubeconfig: "/etc/east" },
];

function faultsOf(...sameness: unknown[]): string[] {
  const parsed = controlPlaneSchema.safeParse({ registries: REGISTRIES, sameness });
  return parsed.success ? [] : parsed.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`);
}

describe("sameness in the control plane's configuration", () => {
  it("takes rules about the registries that there are", () => {
    assert.deepEqual(faultsOf({ of: ["static/default", "consul/consul", "east/east-shop"], services: ["reviews", "shop-*"], except: ["shop-db"], allowPlaintext: true }), []);
    assert.deepEqual(faultsOf({ of: ["static/*", "east/east-*"] }, { of: ["static/default/api.example.com", "consul/consul/api"] }), []);
  });

  for (const [what, rule, fault] of [
    ["one member alone", { of: ["static/default"] }, /^sameness\.0\.of: must name at least two/],
    ["no members", {}, /^sameness\.0\.of: /],
    ["a registry that is not there", { of: ["static/default", "west/west-x"] }, /^sameness\.0\.of\.1: no registry is called west; there are static, consul, east/],
    ["hosts, which have no services", { of: ["hosts/default", "consul/consul"] }, /^sameness\.0\.of\.0: hosts have no services of their own: name static/],
    ["a namespace that Consul's services are not in", { of: ["static/default", "consul/default"] }, /the services of consul are in the namespace consul/],
    ["a cluster's namespace as the cluster calls it", { of: ["static/default", "east/shop"] }, /namespaces of east begin with east-: east-shop\?/],
    ["what is no name", { of: ["static/default", "consul/consul/a b"] }, /^sameness\.0\.of\.1: "a b" is no name with at most one \*/],
    ["too many parts", { of: ["static/default", "consul/consul/a/b"] }, /REGISTRY\/NAMESPACE/],
    ["a star in one member alone", { of: ["static/*", "consul/consul"] }, /^sameness\.0\.of\.1: a \* in the namespace of one member/],
    ["the same twice", { of: ["static/default", "consul/consul", "static/default"] }, /^sameness\.0\.of\.2: static\/default stands there twice/],
    ["a filter that is no name", { of: ["static/default", "consul/consul"], services: ["a**"] }, /^sameness\.0\.services\.0: must be a name/],
    ["an empty filter", { of: ["static/default", "consul/consul"], services: [] }, /^sameness\.0\.services: /],
    ["an unknown field", { of: ["static/default", "consul/consul"], service: "reviews" }, /^sameness\.0: .*service/],
  ] as const) {
    it(`refuses ${what}`, () => assert.match(faultsOf(rule).join("\n"), fault));
  }
});
