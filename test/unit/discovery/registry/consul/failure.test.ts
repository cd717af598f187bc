import assert from "node:assert/strict";
import { consulFailure, failureOfStatus, failureOfTransport } from "../../../../../discovery/registry/consul/failure.ts";

/** The words are those of Consul 1.22 and Node 24, to the mistake that is named. */
describe("hints at what is wrong with a consul", () => {
  const hintOf = (status: number, said: string): string => failureOfStatus(status, said).hint ?? "";
  const transportHintOf = (said: string): string => failureOfTransport(new Error(said)).hint ?? "";

  it("tell a token that is missing from one that is unknown, and from one with too few rights", () => {
    assert.match(consulFailure("MESH_REGISTRY_DENIED", "consul denies by default and no token is configured: an empty answer means nothing").hint ?? "", /give the registry a tokenFile/);
    assert.match(hintOf(403, "ACL not found"), /SecretID, not its AccessorID/);
    assert.match(hintOf(403, "Permission denied: token with AccessorID '…' lacks permission 'service:read'"), /^the token needs service:read and node:read/);
    assert.match(consulFailure("MESH_REGISTRY_DENIED", "the token file cannot be read: ENOENT").hint ?? "", /^tokenFile is a file/);
  });

  it("tell a port of the other protocol, and a server that is no Consul", () => {
    assert.match(hintOf(400, "Client sent an HTTP request to an HTTPS server.\n"), /write https:/);
    assert.match(transportHintOf("407D:error:0A00010B:SSL routines:tls_validate_record_header:wrong version number:../x.c:77:\n"), /write http:/);
    assert.match(hintOf(404, "not found"), /really a Consul/);
    assert.match(hintOf(400, 'Invalid query parameter: "ns" - Namespaces are a Consul Enterprise feature'), /Consul Enterprise alone/);
  });

  it("tell which file or name is missing for TLS", () => {
    assert.match(transportHintOf("unable to verify the first certificate; if the root CA is installed locally, try running Node.js with --use-system-ca"), /^caFile/);
    assert.match(transportHintOf("self-signed certificate in certificate chain"), /^caFile/);
    assert.match(transportHintOf("Hostname/IP does not match certificate's altnames: Host: a. is not in the cert's altnames: DNS:b"), /^give serverName/);
    assert.match(transportHintOf("407D:error:0A00045C:SSL routines:ssl3_read_bytes:tlsv13 alert certificate required:../x.c:918:SSL alert number 116\n"), /certificateFile and keyFile$/);
    assert.match(transportHintOf("connect ECONNREFUSED 127.0.0.1:8501"), /is the Consul agent up/);
  });
});
