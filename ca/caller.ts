import type { Peer } from "../base/grpc/call.ts";
import { GrpcError } from "../base/grpc/status.ts";
import { publicKeySpki, spkiSha256 } from "../base/x509/key.ts";
import { classOf, parseSpiffeId } from "../model/identity.ts";
import type { HostCaller } from "./grant.ts";

/**
 * The host that calls, from its certificate, which TLS has verified already.
 * Only the host class may: a workload's certificate, or the control plane's, is
 * refused here whatever it is used for.
 *
 * @throws GrpcError UNAUTHENTICATED without a certificate, PERMISSION_DENIED with one of another class
 */
export function callingHost(peer: Peer, trustDomain: string): HostCaller {
  const certificate = peer.peerCertificate();
  if (certificate === undefined) throw new GrpcError("UNAUTHENTICATED", "this call needs a host certificate");
  const uris = (certificate.subjectAltName ?? "").split(", ").filter((name) => name.startsWith("URI:"));
  const [uri, ...others] = uris.map((name) => name.slice("URI:".length));
  const id = uri === undefined || others.length > 0 ? undefined : parseSpiffeId(uri);
  const identity = id?.ok === true ? classOf(id.value) : undefined;
  if (identity?.kind !== "host" || identity.trustDomain !== trustDomain) {
    throw new GrpcError("PERMISSION_DENIED", `${uri ?? "a certificate without a SPIFFE ID"} is no host of ${trustDomain}`);
  }
  return { hostId: identity.hostId, spkiSha256: spkiSha256(publicKeySpki(certificate.publicKey)) };
}
