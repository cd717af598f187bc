import assert from "node:assert/strict";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { create } from "@bufbuild/protobuf";
import type { AuthorizationIr, PolicySourceIr } from "../../../../discovery/ir/authorization.ts";
import { tcpAdmission } from "../../../../discovery/translate/tcp-admission.ts";
import { FilterSchema } from "../../../../proto/gen/envoy/config/listener/v3/listener_components_pb.js";
import { type Config, ConfigSchema } from "../../../../proto/gen/envoy/extensions/filters/network/set_filter_state/v3/set_filter_state_pb.js";

const SOURCE: PolicySourceIr = { principals: [], notPrincipals: [], namespaces: [], notNamespaces: [], ipBlocks: [], notIpBlocks: [] };
const WEB: PolicySourceIr = { ...SOURCE, principals: [{ kind: "exact", value: "t/ns/a/sa/web" }] };
const IS_WEB = '(connection.mtls && connection.uri_san_peer_certificate == "spiffe://t/ns/a/sa/web")';

function filterOf(authorization: Partial<AuthorizationIr>, authenticated = true): Config | undefined {
  const [filter] = tcpAdmission({ port: 5432, addresses: [], protocol: "tcp", mtls: "STRICT", authorization: { deny: [], allow: [], ...authorization } }, authenticated);
  if (filter === undefined) return undefined;
  const { configType } = create(FilterSchema, filter);
  return configType.case === "typedConfig" ? anyUnpack(configType.value, ConfigSchema) : undefined;
}

/** The condition under which a connection may go on. */
function conditionOf(authorization: Partial<AuthorizationIr>): string {
  const format = JSON.stringify(filterOf(authorization)?.onDownstreamTlsHandshake ?? "", (_, value: unknown) => (typeof value === "bigint" ? String(value) : value));
  return /%CEL\((.*) \? destination\.address : /.exec((JSON.parse(`"${/"(%CEL.*%)"/.exec(format)?.[1] ?? ""}"`) as string))?.[1] ?? "";
}

const rules = (...from: PolicySourceIr[][]): AuthorizationIr["allow"] => [{ name: "n/p", rules: from.map((sources) => ({ from: sources, to: [] })) }];

describe("TCP admission", () => {
  it("is not there where no policy holds", () => {
    assert.equal(filterOf({}), undefined);
  });

  it("sends every connection nowhere until the peer is known", () => {
    const filter = filterOf({ allow: rules([WEB]) });
    assert.match(JSON.stringify(filter?.onNewConnection), /255\.255\.255\.255:1/);
    assert.equal(filter?.onDownstreamTlsHandshake.length, 1);
    assert.equal(filterOf({ allow: rules([WEB]) }, false)?.onNewConnection.length, 2);
  });

  it("asks for all that policies about identities ask for", () => {
    assert.equal(conditionOf({ allow: rules([WEB]) }), IS_WEB);
    assert.equal(conditionOf({ deny: rules([WEB]) }), `!${IS_WEB}`);
    assert.equal(conditionOf({ allow: rules() }), "false");
    assert.equal(conditionOf({ allow: rules([]), deny: rules([]) }), "false");
    assert.equal(conditionOf({ allow: rules([]) }), "true");
  });

  it("lets in what only address blocks decide: RBAC does that", () => {
    const fromBlock = { ...WEB, ipBlocks: ["10.0.0.0/8"] };
    assert.equal(conditionOf({ allow: rules([fromBlock]) }), IS_WEB);
    assert.equal(conditionOf({ deny: rules([fromBlock]) }), "true");
  });

  it("never writes text into the expression that is not part of a SPIFFE ID", () => {
    const hostile = { ...SOURCE, principals: [{ kind: "exact" as const, value: '" || true || "' }] };
    assert.equal(conditionOf({ allow: rules([hostile]) }), "false");
    assert.equal(conditionOf({ allow: rules([{ ...SOURCE, notPrincipals: hostile.principals }]) }), "true");
  });
});
