import assert from "node:assert/strict";
import fc from "fast-check";
import { type CalledRequest, importEntries, isAllowedByIstio, policiesOf, type WrittenPolicy } from "../../../../../support/consul-import.ts";

type Permission = { readonly Action: "allow" | "deny"; readonly HTTP: { readonly PathExact?: string; readonly PathPrefix?: string; readonly Methods?: readonly string[]; readonly Header?: readonly object[] }; readonly JWT?: object };
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

/** What a request has that no policy here can see. */
interface Unseen {
  readonly header: boolean;
  readonly token: boolean;
}

/** Consul's word, by its precedence and the first permission that matches. */
function isAllowedByConsul(all: readonly Intentions[], request: CalledRequest, isDefault: boolean, unseen: Unseen = { header: true, token: true }): boolean {
  for (const destination of [request.destination, "*"]) {
    for (const source of [request.source, "*"]) {
      const found = all.find(({ Name }) => Name === destination)?.Sources.find(({ Name }) => Name === source);
      if (found === undefined) continue;
      if (found.Action !== undefined) return found.Action === "allow";
      const decisive = found.Permissions?.find(({ HTTP: { PathExact, PathPrefix, Methods, Header } }) =>
        (Header === undefined || unseen.header) && (PathExact === undefined || PathExact === request.path) && (PathPrefix === undefined || request.path.startsWith(PathPrefix)) && (Methods === undefined || Methods.includes(request.method)));
      return decisive === undefined ? isDefault : decisive.Action === "allow" && (decisive.JWT === undefined || unseen.token);
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
                  // To Consul a stranger is none of its services, about whom alone intentions are.
                  const isStrangerLetIn = isAllowedByIstio(policies, { ...request, namespace: "elsewhere" });
                  assert.ok(intentionDefault === "allow" || !isStrangerLetIn, JSON.stringify(request));
                }
              }
            }
          }
        }),
        { numRuns: 300 },
      );
    });
  }

  it("lets in nobody more by headers, by tokens, or for want of a name in the mesh", () => {
    const unsaid = fc.tuple(permission, fc.constantFrom({}, { Header: [{ Name: "x-user", Present: true }] }), fc.constantFrom({}, { JWT: { Providers: [{ Name: "okta" }] } }))
      .map(([one, header, token]): Permission => ({ ...one, ...token, HTTP: { ...one.HTTP, ...header } }));
    const said = fc.oneof(fc.constantFrom({ Action: "allow" as const }, { Action: "deny" as const }), fc.record({ Permissions: fc.array(unsaid, { minLength: 1, maxLength: 3 }) }));
    // No service account has such a name: whoever comes from that service comes under another.
    const fromAnybody = fc.uniqueArray(fc.tuple(fc.constantFrom("a", "Odd_Name", "*"), said), { selector: ([name]) => name, minLength: 1 }).map((list) => list.map(([Name, rest]): Source => ({ Name, ...rest })));
    const some = fc.uniqueArray(fc.tuple(fc.constantFrom("a", "*"), fromAnybody), { selector: ([name]) => name, minLength: 1 }).map((list) => list.map(([Name, Sources]): Intentions => ({ Kind: "service-intentions", Name, Sources })));
    fc.assert(
      fc.property(some, fc.constantFrom("allow", "deny"), (all, intentionDefault) => {
        const policies = policiesFor(all, intentionDefault);
        for (const destination of ["a", "b"]) {
          for (const path of PATHS) {
            for (const method of METHODS) {
              for (const source of ["a", "stranger"]) {
                if (!isAllowedByIstio(policies, { source, destination, path, method })) continue;
                for (const who of source === "a" ? ["a"] : ["stranger", "Odd_Name"]) {
                  for (const header of [true, false]) {
                    for (const token of [true, false]) {
                      assert.ok(isAllowedByConsul(all, { source: who, destination, path, method }, intentionDefault === "allow", { header, token }), `${who} -> ${destination} ${method} ${path} ${JSON.stringify({ header, token })}`);
                    }
                  }
                }
              }
            }
          }
        }
      }),
      { numRuns: 500 },
    );
  });

  it("allows nothing where there is a field that it does not know", () => {
    const allowing = { Name: "b", Permissions: [{ Action: "allow", HTTP: { PathPrefix: "/x" } }] };
    const [allowed] = allowing.Permissions;
    const cases: readonly [object, string, string][] = [
      [{ Sources: [{ ...allowing, Permissions: [{ ...allowed, HTTP: { PathPrefix: "/x", QueryParam: [{ Name: "q", Present: true }] } }] }] }, "Sources[0].Permissions[0]", "QueryParam"],
      [{ Sources: [{ ...allowing, Permissions: [{ ...allowed, HTTP: { path_prefix: "/x" } }] }] }, "Sources[0].Permissions[0]", "path_prefix"],
      [{ Sources: [{ ...allowing, Permissions: [{ ...allowed, Time: "night" }] }] }, "Sources[0].Permissions[0]", "Time"],
      [{ Sources: [{ Name: "b", Action: "allow", Region: "eu" }] }, "Sources[0]", "Region"],
      [{ Sources: [allowing], Until: "2030" }, "Sources[0]", "Until"],
    ];
    for (const [entry, path, field] of cases) {
      const all = [{ Kind: "service-intentions", Name: "a", ...entry }];
      assert.equal(isAllowedByIstio(policiesFor(all, "deny"), { source: "b", destination: "a", path: "/x", method: "GET" }), false, field);
      const { findings } = importEntries(all, { intentionDefault: "deny" });
      assert.ok(findings.some((finding) => finding.effect === "lost" && finding.path === path && finding.message.includes(field)), JSON.stringify(findings));
    }
    const unset = [{ Kind: "service-intentions", Name: "a", Sources: [{ ...allowing, Region: "", Precedence: 9, Type: "consul", LegacyMeta: {} }], Until: null, Hash: 7 }];
    assert.equal(isAllowedByIstio(policiesFor(unset, "deny"), { source: "b", destination: "a", path: "/x", method: "GET" }), true);
    assert.deepEqual(importEntries(unset, { intentionDefault: "deny" }).findings, []);
  });

  it("takes the wildcard of the namespace before that of all namespaces, in sources and in destinations", () => {
    const everywhere = (name: string, action: string): object => ({ Name: name, Namespace: "*", Action: action });
    const own = { Kind: "service-intentions", Name: "a", Sources: [{ Name: "*", Action: "deny" }, everywhere("*", "allow")] };
    const ofAll = { Kind: "service-intentions", Name: "*", Namespace: "*", Sources: [everywhere("*", "deny")] };
    const isLetIn = (all: readonly object[], source: string, destination: string): boolean => isAllowedByIstio(policiesFor(all, "allow"), { source, destination, path: "/", method: "GET" });
    assert.equal(isLetIn([own], "b", "a"), false);
    assert.equal(isLetIn([{ ...own, Sources: own.Sources.toReversed() }], "b", "a"), false);
    assert.equal(isLetIn([ofAll], "b", "a"), false, "without a word of its own the namespace does as all do");
    assert.equal(isLetIn([ofAll, { Kind: "service-intentions", Name: "*", Sources: [{ Name: "b", Action: "allow" }] }], "b", "a"), true);
    assert.equal(isLetIn([ofAll, { Kind: "service-intentions", Name: "*", Sources: [{ Name: "b", Action: "allow" }] }], "c", "a"), false);
    assert.equal(isLetIn([ofAll, { Kind: "service-intentions", Name: "a", Sources: [{ Name: "b", Action: "allow" }] }], "c", "a"), false);
  });

  it("keeps out other namespaces where Consul allows by default and denies some of them", () => {
    const all = [
      { Kind: "service-intentions", Name: "a", Sources: [{ Name: "shop", Peer: "east", Action: "deny" }] },
      { Kind: "service-intentions", Name: "*", Sources: [{ Name: "spam", Action: "deny" }] },
    ];
    const policies = policiesFor(all, "allow");
    const isLetIn = (namespace: string, source: string, destination: string): boolean => isAllowedByIstio(policies, { namespace, source, destination, path: "/", method: "GET" });
    assert.deepEqual([isLetIn("consul", "b", "a"), isLetIn("consul", "spam", "a"), isLetIn("east", "shop", "a"), isLetIn("east", "shop", "b")], [true, false, false, true]);
  });

  it("says whom it refuses because others may do less", () => {
    const all = [{ Kind: "service-intentions", Name: "a", Sources: [{ Name: "b", Action: "allow" }, { Name: "Odd_Name", Action: "deny" }, { Name: "shop", Peer: "east", Action: "deny" }, { Name: "*", Action: "allow" }] }];
    const policies = policiesFor(all, "deny");
    assert.deepEqual(["b", "c"].map((source) => isAllowedByIstio(policies, { source, destination: "a", path: "/", method: "GET" })), [true, false]);
    const { findings } = importEntries(all, { intentionDefault: "deny" });
    assert.ok(findings.some(({ effect, message }) => effect === "lost" && message.startsWith("Odd_Name may do less than others")), JSON.stringify(findings));
  });

  it("says that a label is just what it is, where Consul does not look at capital letters", () => {
    const all = ["*", "Shop", "web"].map((Name) => ({ Kind: "service-intentions", Name, Sources: [{ Name: "b", Action: "deny" }, { Name: "*", Action: "allow" }] }));
    const todo = importEntries(all, { intentionDefault: "deny" }).findings.filter(({ effect, path }) => effect === "todo" && path === "Name");
    assert.deepEqual(todo.map(({ entry }) => entry), ["service-intentions Shop"]);
    assert.match(todo[0]?.message ?? "", /whose label app is just that/);
  });

  it("lets in nobody more where a permission cannot be said, and says so", () => {
    const header = [{ Name: "x-user", Exact: "root" }];
    const all = [
      { Kind: "service-intentions", Name: "a", Sources: [{ Name: "b", Permissions: [
        { Action: "deny", HTTP: { PathPrefix: "/x", Header: header } },
        { Action: "allow", HTTP: { PathRegex: "/w/.*" } },
        { Action: "allow", HTTP: { PathPrefix: "/star*" } },
        { Action: "allow", HTTP: { Methods: ["get"] } },
        { Action: "allow", HTTP: { Methods: ["G*"] } },
        { Action: "allow", HTTP: { PathPrefix: "/x" } },
        { Action: "allow", HTTP: { PathExact: "/w" } },
      ] }] },
    ];
    const policies = policiesFor(all, "deny");
    const allowed = PATHS.filter((path) => isAllowedByIstio(policies, { source: "b", destination: "a", path, method: "GET" }));
    assert.deepEqual(allowed, ["/w"]);
    const { findings } = importEntries(all, { intentionDefault: "deny" });
    assert.deepEqual(findings.map(({ effect, path }) => [effect, path]), [0, 1, 2, 3, 4].map((index) => ["lost", `Sources[0].Permissions[${index}]`]));
  });

  it("denies by a regular expression no more than what begins like all that it matches", () => {
    const cases: readonly [string, readonly string[]][] = [
      ["/x/.*", ["/", "/x", "/w"]],
      ["/x/y+", ["/", "/x", "/w"]],
      ["/xa?", ["/", "/w"]],
      ["/x/y/z*", ["/", "/x", "/x/y", "/w"]],
      ["/w{0,1}", []],
      ["/w|/x/.*", []],
      ["(?i)/X/.*", []],
      [".*", []],
      ["/(x|w)", []],
    ];
    for (const [PathRegex, left] of cases) {
      const policies = policiesFor([{ Kind: "service-intentions", Name: "a", Sources: [{ Name: "b", Permissions: [{ Action: "deny", HTTP: { PathRegex } }, { Action: "allow", HTTP: { PathPrefix: "/" } }] }] }], "deny");
      assert.deepEqual(PATHS.filter((path) => isAllowedByIstio(policies, { source: "b", destination: "a", path, method: "GET" })), left, PathRegex);
      assert.deepEqual(left.filter((path) => new RegExp(`^(?:${PathRegex.replace("(?i)", "")})$`).test(path)), [], "what is left does not match");
    }
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
    const none = importEntries([], { intentionDefault: "deny" });
    assert.deepEqual(none.resources, []);
    assert.match(none.findings[0]?.message ?? "", /none of them may call another, and no policy says so/);
    assert.deepEqual(importEntries([], { intentionDefault: "allow" }).findings, []);
    const { findings, resources } = importEntries([{ Kind: "service-intentions", Name: "a", Sources: [{ Name: "b", Action: "allow" }] }]);
    assert.deepEqual(resources.map(({ resource }) => resource.metadata.name), ["a"]);
    assert.deepEqual(findings.map(({ effect }) => effect), ["todo"]);
  });
});
