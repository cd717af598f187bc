import type { X509Certificate } from "node:crypto";
import type { Peer } from "../base/grpc/call.ts";
import { publicKeySpki, spkiSha256 } from "../base/x509/key.ts";
import { classOf, parseSpiffeId } from "../model/identity.ts";
import { caError } from "./errors.ts";
import type { HostCaller } from "./grant.ts";

/** What a certificate says of its bearer. */
interface Bearer {
  /** Its first one; undefined where it has none. */
  readonly uri: string | undefined;
  readonly hasOthers: boolean;
  readonly spkiSha256: string;
}

/** A connection has one certificate for as long as it lives, and calls all the time. */
const bearers = new WeakMap<X509Certificate, Bearer>();

function bearerOf(certificate: X509Certificate): Bearer {
  const known = bearers.get(certificate);
  if (known !== undefined) return known;
  const uris = (certificate.subjectAltName ?? "").split(", ").filter((name) => name.startsWith("URI:"));
  const bearer = { uri: uris[0]?.slice("URI:".length), hasOthers: uris.length > 1, spkiSha256: spkiSha256(publicKeySpki(certificate.publicKey)) };
  bearers.set(certificate, bearer);
  return bearer;
}

/**
 * The host that calls, from its certificate, which TLS has verified already.
 * Only the host class may: a workload's certificate, or the control plane's, is
 * refused here whatever it is used for. Throws `MESH_CALLER_…`.
 */
export function callingHost(peer: Peer, trustDomain: string): HostCaller {
  const certificate = peer.peerCertificate();
  if (certificate === undefined) throw caError("MESH_CALLER_ANONYMOUS", "this call needs a host certificate");
  const { uri, hasOthers, spkiSha256: key } = bearerOf(certificate);
  const id = uri === undefined || hasOthers ? undefined : parseSpiffeId(uri);
  const identity = id?.ok === true ? classOf(id.value) : undefined;
  if (identity?.kind !== "host" || identity.trustDomain !== trustDomain) {
    throw caError("MESH_CALLER_NOT_A_HOST", `${uri ?? "a certificate without a SPIFFE ID"} is no host of ${trustDomain}`);
  }
  const caller = { hostId: identity.hostId, spkiSha256: key };
  return peer.remoteAddress === undefined ? caller : { ...caller, address: peer.remoteAddress };
}
