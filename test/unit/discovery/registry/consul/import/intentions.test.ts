import assert from "node:assert/strict";
import fc from "fast-check";
import { type CalledRequest, importEntries, isAllowedByIstio, policiesOf, type WrittenPolicy } from "../../../../../support/consul-import.ts";

type Permission = { readonly Action: "allow" | "deny"; readonly HTTP: { readonly PathExact?: string; readonly PathPrefix?: string; readonly Methods?: readonly string[]; readonly Header?: readonly object[] } };
type Source = { readonly Name: string; readonly Action?: "allow" | "deny"; readonly Permissions?: readonly Permission[] };
type Intentions = { readonly Kind: "service-intentions"; readonly Name: string; readonly Sources: readonly Source[] };

const SERVICES = ["a", "b", "c"] as const;
const PATHS = ["/", "/x", "/x/y", "/x/y/z", "/w"] as const;
const METHODS = ["GET", "PUT"] as const;

const permission: fc.Arbitrary<Permission> = fc.record({
  Action: fc.constantFrom("allow", "deny"),
  HTTP: fc.record(
    { Methods: fc.subarray([...METHODS], { minLength: 1 }), PathExact: fc.constantFrom(...PATHS), PathPrefix: fc.constantFrom(...PATHS) },
    { requiredKeys: [] },
  ).map(({ PathExact, PathPrefix, ...rest }) => ({ ...rest, ...(PathExact === undefined ? (PathPrefix === undefined ? {} : { PathPrefix }) : { PathExact }) })),
});
const verdict = fc.oneof(
  fc.constantFrom({ Action: "allow" as const }, { Action: "deny" as const }),
  fc.record({ Permissions: fc.array(permission, { minLength: 1, maxLength: 3 }) }),
);
const sources: fc.Arbitrary<readonly Source[]> = fc.uniqueArray(fc.tuple(fc.constantFrom(...SERVICES, "*"), verdict), { selector: ([name]) => name, minLength: 1, maxLength: 4 }).map((list) => list.map(([Name, rest]) => ({ Name, ...rest })));
const intentions = fc.uniqueArray(fc.tuple(fc.constantFrom("a", "b", "*"), sources), { selector: ([name]) => name, minLength: 1, maxLength: 3 }).map((list) => list.map(([Name, Sources]): Intentions => ({ Kind: "service-intentions", Name, Sources })));

/** Consul's word, by its precedence and the first permission that matches. */
function isAllowedByConsul(all: readonly Intentions[], request: CalledRequest, isDefault: boolean): boolean {
  for (const destination of [request.destination, "*"]) {
    for (const source of [request.source, "*"]) {
      const found = all.find(({ Name }) => Name === destination)?.Sources.find(({ Name }) => Name === source);
      if (found === undefined) continue;
      if (found.Action !== undefined) return found.Action === "allow";
      const decisive = found.Permissions?.find(({ HTTP: { PathExact, PathPrefix, Methods } }) =>
        (PathExact === undefined || PathExact === request.path) && (PathPrefix === undefined || request.path.startsWith(PathPrefix)) && (Methods === undefined || Methods.includes(request.method)));
      return decisive === undefined ? isDefault : decisive.Action === "allow";
    }
  }
  return isDefault;
}

function policiesFor(all: readonly unknown[], intentionDefault: "allow" | "deny"): WrittenPolicy[] {
  const { resources } = importEntries(all, { intentionDefault });
  assert.ok(resources.every(({ refusal }) => refusal === undefined));
  return policiesOf(resources.map(({ resource }) => resource));
}

describe("consul import: intentions", () => {
  for (const intentionDefault of ["allow", "deny"] as const) {
    it(`lets in whom Consul lets in, where the default is ${intentionDefault}`, () => {
      fc.assert(
        fc.property(intentions, (all) => {
          const policies = policiesFor(all, intentionDefault);
          for (const source of SERVICES) {
            for (const destination of SERVICES) {
              for (const path of PATHS) {
                for (const method of METHODS) {
                  const request = { source, destination, path, method };
                  assert.equal(isAllowedByIstio(policies, request), isAllowedByConsul(all, request, intentionDefault === "allow"), JSON.stringify(request));
                }
              }
            }
          }
        }),
        { numRuns: 300 },
      );
    });
  }

  it("lets in nobody more where a permission cannot be said, and says so", () => {
    const header = [{ Name: "x-user", Exact: "root" }];
    const all = [
      { Kind: "service-intentions", Name: "a", Sources: [{ Name: "b", Permissions: [
        { Action: "deny", HTTP: { PathPrefix: "/x", Header: header } },
        { Action: "allow", HTTP: { PathRegex: "/w/.*" } },
        { Action: "allow", HTTP: { PathPrefix: "/star*" } },
        { Action: "allow", HTTP: { Methods: ["get"] } },
        { Action: "allow", HTTP: { PathPrefix: "/x" } },
        { Action: "allow", HTTP: { PathExact: "/w" } },
      ] }] },
    ];
    const policies = policiesFor(all, "deny");
    const allowed = PATHS.filter((path) => isAllowedByIstio(policies, { source: "b", destination: "a", path, method: "GET" }));
    assert.deepEqual(allowed, ["/w"]);
    const { findings } = importEntries(all, { intentionDefault: "deny" });
    assert.deepEqual(findings.map(({ effect, path }) => [effect, path]), [0, 1, 2, 3].map((index) => ["lost", `Sources[0].Permissions[${index}]`]));
  });

  it("refuses who needs a token", () => {
    const all = [{ Kind: "service-intentions", Name: "a", JWT: { Providers: [{ Name: "okta" }] }, Sources: [{ Name: "b", Action: "allow" }] }];
    assert.equal(isAllowedByIstio(policiesFor(all, "deny"), { source: "b", destination: "a", path: "/", method: "GET" }), false);
    assert.match(importEntries(all, { intentionDefault: "deny" }).findings[0]?.message ?? "", /tokens/);
  });

  it("allows nothing of permissions that leave too many operations", () => {
    const Permissions = [
      ...Array.from({ length: 12 }, (_, index) => ({ Action: "deny", HTTP: { PathPrefix: `/p${index}`, Methods: [`M${index}`] } })),
      { Action: "allow", HTTP: { PathPrefix: "/" } },
    ];
    const { findings, resources } = importEntries([{ Kind: "service-intentions", Name: "a", Sources: [{ Name: "b", Permissions }] }], { intentionDefault: "deny" });
    assert.match(findings[0]?.message ?? "", /more than 64 operations/);
    assert.equal(resources.find(({ resource }) => resource.metadata.name === "a")?.resource.spec["rules"], undefined);
  });

  it("writes nothing where Consul has no intentions, and says what it assumes where the default is not known", () => {
    assert.deepEqual(importEntries([], { intentionDefault: "deny" }).resources, []);
    const { findings, resources } = importEntries([{ Kind: "service-intentions", Name: "a", Sources: [{ Name: "b", Action: "allow" }] }]);
    assert.deepEqual(resources.map(({ resource }) => resource.metadata.name), ["a"]);
    assert.deepEqual(findings.map(({ effect }) => effect), ["todo"]);
  });
});
