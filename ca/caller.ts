import type { Peer } from "../base/grpc/call.ts";
import { publicKeySpki, spkiSha256 } from "../base/x509/key.ts";
import { classOf, parseSpiffeId } from "../model/identity.ts";
import { caError } from "./errors.ts";
import type { HostCaller } from "./grant.ts";

/**
 * The host that calls, from its certificate, which TLS has verified already.
 * Only the host class may: a workload's certificate, or the control plane's, is
 * refused here whatever it is used for. Throws `MESH_CALLER_…`.
 */
export function callingHost(peer: Peer, trustDomain: string): HostCaller {
  const certificate = peer.peerCertificate();
  if (certificate === undefined) throw caError("MESH_CALLER_ANONYMOUS", "this call needs a host certificate");
  const uris = (certificate.subjectAltName ?? "").split(", ").filter((name) => name.startsWith("URI:"));
  const [uri, ...others] = uris.map((name) => name.slice("URI:".length));
  const id = uri === undefined || others.length > 0 ? undefined : parseSpiffeId(uri);
  const identity = id?.ok === true ? classOf(id.value) : undefined;
  if (identity?.kind !== "host" || identity.trustDomain !== trustDomain) {
    throw caError("MESH_CALLER_NOT_A_HOST", `${uri ?? "a certificate without a SPIFFE ID"} is no host of ${trustDomain}`);
  }
  const caller = { hostId: identity.hostId, spkiSha256: spkiSha256(publicKeySpki(certificate.publicKey)) };
  return peer.remoteAddress === undefined ? caller : { ...caller, address: peer.remoteAddress };
}
