import assert from "node:assert/strict";
import { createSameness, findSamenessFaults, formatSamenessMember, parseSamenessMember, type SamenessMember, type SamenessRule } from "../../../../discovery/catalog/sameness.ts";

function rule(of: readonly string[], changes: Partial<SamenessRule> = {}): SamenessRule {
  return { of: of.map(member), allowPlaintext: false, ...changes };
}

function member(text: string): SamenessMember {
  const parsed = parseSamenessMember(text);
  if (!parsed.ok) throw new Error(parsed.error);
  return parsed.value;
}

describe("sameness rules", () => {
  const placed = (rules: readonly SamenessRule[], registry: string, namespace: string, name: string): string | undefined => {
    const place = createSameness(rules).placeOf(registry, { namespace, name });
    return place === undefined ? undefined : `${place.namespace}/${place.name} ${place.rule}.${place.member}`;
  };

  it("put a service of any member where the first one's live", () => {
    const rules = [rule(["static/default", "consul/consul", "east/east-shop"])];
    assert.equal(placed(rules, "static", "default", "reviews"), "default/reviews 0.0");
    assert.equal(placed(rules, "consul", "consul", "reviews"), "default/reviews 0.1");
    assert.equal(placed(rules, "east", "east-shop", "reviews"), "default/reviews 0.2");
    assert.equal(placed(rules, "east", "east-other", "reviews"), undefined);
    assert.equal(placed(rules, "west", "east-shop", "reviews"), undefined, "another registry's word");
  });

  it("rename", () => {
    const rules = [rule(["static/default/reviews", "consul/consul/reviews-api"]), rule(["static/shop/*", "consul/consul/shop-*-v1"])];
    assert.equal(placed(rules, "consul", "consul", "reviews-api"), "default/reviews 0.1");
    assert.equal(placed(rules, "consul", "consul", "reviews"), undefined);
    assert.equal(placed(rules, "consul", "consul", "shop-cart-v1"), "shop/cart 1.1");
    assert.equal(placed(rules, "consul", "consul", "shop--v1"), undefined, "a * stands for something");
  });

  it("carry whole namespaces over", () => {
    const rules = [rule(["east/east-*", "west/west-*"])];
    assert.equal(placed(rules, "west", "west-shop", "cart"), "east-shop/cart 0.1");
    assert.equal(placed(rules, "west", "shop", "cart"), undefined);
  });

  it("are about the named services, but for the excepted ones", () => {
    const rules = [rule(["static/default", "consul/consul"], { services: ["reviews", "shop-*"], except: ["shop-db"] })];
    assert.equal(placed(rules, "consul", "consul", "shop-cart"), "default/shop-cart 0.1");
    assert.equal(placed(rules, "consul", "consul", "shop-db"), undefined);
    assert.equal(placed(rules, "consul", "consul", "ratings"), undefined);
  });

  it("are asked in order", () => {
    const rules = [rule(["static/a/reviews", "consul/consul/reviews"]), rule(["static/b", "consul/consul"])];
    assert.equal(placed(rules, "consul", "consul", "reviews"), "a/reviews 0.1");
    assert.equal(placed(rules, "consul", "consul", "ratings"), "b/ratings 1.1");
  });

  it("take a dollar sign of nobody's pattern for a reference", () => {
    assert.equal(placed([rule(["east/east-*", "west/*-west"])], "west", "$&-west", "x"), "east-$&/x 0.1");
  });

  it("are read strictly", () => {
    for (const text of ["", "static", "/default", "static/", "static/default/x/y", "static/De fault", "static/*-*", "static/default/*a*"]) {
      assert.equal(parseSamenessMember(text).ok, false, text);
    }
    assert.equal(formatSamenessMember(member("static/default")), "static/default");
    assert.equal(formatSamenessMember(member("static/default/api.example.com")), "static/default/api.example.com");
  });

  it("say what makes them meaningless", () => {
    assert.match(findSamenessFaults(rule(["static/default"]))[0]?.message ?? "", /at least two/);
    assert.match(findSamenessFaults(rule(["static/default", "static/default"]))[0]?.message ?? "", /twice/);
    assert.deepEqual(findSamenessFaults(rule(["east/east-*", "consul/consul"])).map(({ path }) => path), [["of", 1]]);
    assert.match(findSamenessFaults(rule(["static/default/reviews", "consul/consul"]))[0]?.message ?? "", /\* in the name/);
    assert.deepEqual(findSamenessFaults(rule(["static/default", "consul/consul"])), []);
  });
});
