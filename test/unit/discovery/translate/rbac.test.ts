import assert from "node:assert/strict";
import { create, toJson } from "@bufbuild/protobuf";
import type { AuthorizationIr, PolicyOperationIr, PolicySourceIr } from "../../../../discovery/ir/authorization.ts";
import { allowRules, denyRules, readsPaths, type Visibility } from "../../../../discovery/translate/rbac.ts";
import { RBACSchema } from "../../../../proto/gen/envoy/config/rbac/v3/rbac_pb.js";
import { PROTO_REGISTRY } from "../../../../proto/registry.ts";

const SOURCE: PolicySourceIr = { principals: [], notPrincipals: [], namespaces: [], notNamespaces: [], ipBlocks: [], notIpBlocks: [] };
const OPERATION: PolicyOperationIr = { methods: [], notMethods: [], paths: [], notPaths: [], hosts: [], notHosts: [], ports: [], notPorts: [] };
const GET: PolicyOperationIr = { ...OPERATION, methods: [{ kind: "exact", value: "GET" }] };

function policy(from: readonly PolicySourceIr[], to: readonly PolicyOperationIr[]): AuthorizationIr["allow"] {
  return [{ name: "ns/p", rules: [{ from, to }] }];
}

/** As protobuf JSON, without the rules' names. */
function policies(rules: ReturnType<typeof allowRules>): unknown[] {
  if (rules === undefined) return [];
  const json = toJson(RBACSchema, create(RBACSchema, rules), { registry: PROTO_REGISTRY }) as { policies?: Record<string, unknown> };
  return Object.values(json.policies ?? {});
}

const allow = (from: readonly PolicySourceIr[], to: readonly PolicyOperationIr[], visibility: Visibility = "http"): unknown[] =>
  policies(allowRules({ deny: [], allow: policy(from, to) }, visibility));
const deny = (from: readonly PolicySourceIr[], to: readonly PolicyOperationIr[], visibility: Visibility = "http"): unknown[] =>
  policies(denyRules({ allow: [], deny: policy(from, to) }, visibility));

describe("RBAC", () => {
  it("says nothing where there is no policy, and allows nobody by a policy without rules", () => {
    assert.equal(allowRules({ deny: [], allow: [] }, "http"), undefined);
    assert.equal(denyRules({ deny: [], allow: [] }, "http"), undefined);
    assert.deepEqual(allowRules({ deny: [], allow: [{ name: "ns/p", rules: [] }] }, "http"), { action: 0, policies: {} });
  });

  it("takes an empty rule for anybody and anything", () => {
    assert.deepEqual(allow([], []), [{ permissions: [{ any: true }], principals: [{ any: true }] }]);
    assert.deepEqual(allow([SOURCE], [OPERATION]), [{ permissions: [{ any: true }], principals: [{ any: true }] }]);
  });

  it("names rules as Istio does", () => {
    assert.deepEqual(Object.keys(allowRules({ deny: [], allow: policy([], []) }, "http")?.policies ?? {}), ["ns[ns]-policy[p]-rule[0]"]);
  });

  it("on TCP drops an ALLOW operation about HTTP, and the HTTP fields of a DENY operation", () => {
    assert.deepEqual(allow([], [GET], "tcp"), []);
    assert.deepEqual(allow([], [GET, { ...OPERATION, ports: [1] }], "tcp"), [{ permissions: [{ destinationPort: 1 }], principals: [{ any: true }] }]);
    assert.deepEqual(deny([], [{ ...GET, ports: [1] }], "tcp"), [{ permissions: [{ destinationPort: 1 }], principals: [{ any: true }] }]);
    assert.deepEqual(deny([], [GET], "tcp"), [{ permissions: [{ any: true }], principals: [{ any: true }] }]);
  });

  it("matches a host whatever its case and port", () => {
    const [written] = allow([], [{ ...OPERATION, hosts: [{ kind: "exact", value: "a.example" }] }]) as { permissions: unknown[] }[];
    assert.deepEqual(written?.permissions, [
      { header: { name: ":authority", stringMatch: { safeRegex: { regex: String.raw`(?i)a\.example(:[0-9]+)?` } } } },
    ]);
  });

  it("joins lists by or, fields by and, and turns not-lists around", () => {
    const [written] = allow([{ ...SOURCE, ipBlocks: ["10.0.0.0/8", "::1"], notIpBlocks: ["10.1.1.1"] }], []) as { principals: unknown[] }[];
    assert.deepEqual(written?.principals, [
      {
        andIds: {
          ids: [
            { orIds: { ids: [{ directRemoteIp: { addressPrefix: "10.0.0.0", prefixLen: 8 } }, { directRemoteIp: { addressPrefix: "::1", prefixLen: 128 } }] } },
            { notId: { directRemoteIp: { addressPrefix: "10.1.1.1", prefixLen: 32 } } },
          ],
        },
      },
    ]);
  });

  it("finds a namespace only where a SPIFFE ID has it", () => {
    const [written] = allow([{ ...SOURCE, namespaces: [{ kind: "prefix", value: "a." }] }], []);
    const regex = /"regex":"([^"]*)"/.exec(JSON.stringify(written))?.[1]?.replaceAll("\\\\", "\\") ?? "";
    const matches = (id: string): boolean => new RegExp(`^(?:${regex})$`).test(id);
    assert.deepEqual(
      ["spiffe://t/ns/a.b/sa/x", "spiffe://t/ns/ab/sa/x", "spiffe://t/x/ns/a.b/sa/x", "spiffe://t/host/a.b"].map(matches),
      [true, false, false, false],
    );
  });

  it("knows when paths matter", () => {
    assert.equal(readsPaths({ deny: [], allow: policy([], [GET]) }), false);
    assert.equal(readsPaths({ deny: policy([], [{ ...GET, notPaths: [{ kind: "exact", value: "/" }] }]), allow: [] }), true);
  });
});
