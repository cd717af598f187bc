import assert from "node:assert/strict";

import { create, toBinary } from "@bufbuild/protobuf";
import type { DescMessage, MessageInitShape } from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";

import { refuseResource } from "../../../agent/resource-guard.ts";
import { ClusterSchema } from "../../../proto/gen/envoy/config/cluster/v3/cluster_pb.js";
import { ListenerSchema } from "../../../proto/gen/envoy/config/listener/v3/listener_pb.js";
import { FileAccessLogSchema } from "../../../proto/gen/envoy/extensions/access_loggers/file/v3/file_pb.js";
import { SecretSchema } from "../../../proto/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js";
import { UpstreamTlsContextSchema } from "../../../proto/gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js";
import { PROTO_REGISTRY } from "../../../proto/registry.ts";
import { createResource } from "../../../xds/resource.ts";
import { TYPE_URLS } from "../../../xds/type-urls.ts";

const policy = { inboundPort: 15_006, outboundRange: [15_100, 15_199], trustedRoots: ["/etc/ironmesh/ca-certificates", "/opt/payments/root.pem"], registry: PROTO_REGISTRY } as const;

function judge<Desc extends DescMessage>(schema: Desc, init: MessageInitShape<Desc>, typeUrl = `type.googleapis.com/${schema.typeName}`): string | undefined {
  return refuseResource(createResource(typeUrl, "it", toBinary(schema, create(schema, init))), policy);
}

const listener = (...binds: (readonly [string, number])[]): string | undefined => {
  const [first, ...others] = binds.map(([address, port]) => ({ address: { case: "socketAddress" as const, value: { address, portSpecifier: { case: "portValue" as const, value: port } } } }));
  return judge(ListenerSchema, { name: "it", ...(first === undefined ? {} : { address: first }), additionalAddresses: others.map((address) => ({ address })) });
};

const withTls = (tls: MessageInitShape<typeof UpstreamTlsContextSchema>): string | undefined =>
  judge(ClusterSchema, { name: "it", transportSocket: { name: "tls", configType: { case: "typedConfig", value: anyPack(UpstreamTlsContextSchema, create(UpstreamTlsContextSchema, tls)) } } });

const rootsFile = (filename: string): string | undefined =>
  withTls({ commonTlsContext: { validationContextType: { case: "validationContext", value: { trustedCa: { specifier: { case: "filename", value: filename } } } } } });

describe("what the relay refuses", () => {
  it("lets the agent's own listeners pass and no others", () => {
    assert.equal(listener(["0.0.0.0", 15_006], ["::", 15_006]), undefined);
    assert.equal(listener(["127.0.0.1", 15_100], ["::1", 15_100]), undefined);
    assert.match(listener(["127.0.0.1", 22]) ?? "", /binds port 22/);
    assert.match(listener(["127.0.0.1", 15_100], ["127.0.0.1", 8_080]) ?? "", /binds port 8080/);
    assert.match(listener(["0.0.0.0", 15_100]) ?? "", /instead of loopback/);
    assert.match(listener(["127.0.0.1", 15_100], ["::", 15_100]) ?? "", /instead of loopback/);
    assert.match(listener() ?? "", /no address/);
  });

  it("lets a cluster read the public roots and no other file", () => {
    assert.equal(rootsFile("/etc/ssl/certs/ca-certificates.crt"), undefined);
    assert.match(rootsFile("/var/lib/ironmesh/host.json") ?? "", /reads the file/);
    assert.match(rootsFile("/etc/ssl/certs/../../shadow") ?? "", /reads the file/);
  });

  it("lets it read roots that the host names, by file or folder, and nothing that only begins like them", () => {
    for (const path of ["/etc/ironmesh/ca-certificates/payments.pem", "/etc/ironmesh/ca-certificates/a/b.pem", "/opt/payments/root.pem"]) assert.equal(rootsFile(path), undefined, path);
    for (const path of ["/etc/ironmesh/ca-certificates/../agent.yaml", "/etc/ironmesh/ca-certificates-old/x.pem", "/opt/payments/root.pem.key", "/etc/ironmesh//ca-certificates/x", "/etc/ironmesh/ca-certificates/./x"]) {
      assert.match(rootsFile(path) ?? "", /envoy\.trustedRoots of this agent does not name/, path);
    }
  });

  it("refuses keys that were not made on this host, alone or inside of something", () => {
    const certificate = { privateKey: { specifier: { case: "inlineString" as const, value: "key" } } };
    assert.match(judge(SecretSchema, { name: "spiffe://mesh/ns/a/sa/b", type: { case: "tlsCertificate", value: certificate } }) ?? "", /made on the host/);
    assert.match(withTls({ commonTlsContext: { tlsCertificates: [certificate] } }) ?? "", /made on the host/);
    assert.equal(judge(SecretSchema, { name: "validation|x", type: { case: "validationContext", value: {} } }), undefined);
  });

  it("refuses other unix sockets, other sources of configuration, and files to write", () => {
    const pipe = { endpoint: { address: { address: { case: "pipe" as const, value: { path: "/run/docker.sock" } } } } };
    assert.match(judge(ClusterSchema, { name: "it", loadAssignment: { clusterName: "it", endpoints: [{ lbEndpoints: [{ hostIdentifier: { case: "endpoint", value: pipe.endpoint } }] }] } }) ?? "", /unix socket/);
    const elsewhere = { configSourceSpecifier: { case: "pathConfigSource" as const, value: { path: "/x" } } };
    assert.match(judge(ClusterSchema, { name: "it", edsClusterConfig: { edsConfig: elsewhere } }) ?? "", /from elsewhere/);
    const log = { name: "log", configType: { case: "typedConfig" as const, value: anyPack(FileAccessLogSchema, create(FileAccessLogSchema, { path: "/etc/cron.d/x" })) } };
    assert.match(
      judge(ListenerSchema, { name: "it", address: { address: { case: "socketAddress", value: { address: "0.0.0.0", portSpecifier: { case: "portValue", value: 15_006 } } } }, accessLog: [log] }) ?? "",
      /writes to the file/,
    );
  });

  it("refuses what it cannot look into", () => {
    const unknown = { name: "x", configType: { case: "typedConfig" as const, value: { $typeName: "google.protobuf.Any" as const, typeUrl: "type.googleapis.com/evil.v1.Thing", value: new Uint8Array() } } };
    assert.match(judge(ClusterSchema, { name: "it", transportSocket: unknown }) ?? "", /evil\.v1\.Thing, which this agent does not know/);
    assert.match(refuseResource(createResource(TYPE_URLS.runtime, "it", new Uint8Array()), policy) ?? "", /not relayed/);
    assert.match(refuseResource(createResource(TYPE_URLS.cluster, "it", Buffer.from("ff", "hex")), policy) ?? "", /not a valid/);
  });
});
