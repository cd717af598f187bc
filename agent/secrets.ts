import { create, toBinary } from "@bufbuild/protobuf";

import { SecretBytes } from "../base/secret-bytes.ts";
import { formatSpiffeId } from "../model/identity.ts";
import { SecretSchema } from "../proto/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js";
import type { HeldCertificate } from "./certificate.ts";

/** One SDS secret, encoded; its bytes hold the private key. */
export interface WorkloadSecret {
  readonly name: string;
  readonly bytes: SecretBytes;
}

/**
 * What Envoy gets for a workload's certificate, over the agent's own socket and
 * never from the control plane. It has two names: the SPIFFE ID, which outbound
 * connections select on demand, and `server|<SPIFFE ID>` for inbound listeners.
 * Envoy never wakes an on-demand selector for a secret that a listener holds.
 */
export function buildWorkloadSecrets(certificate: HeldCertificate): WorkloadSecret[] {
  const id = formatSpiffeId(certificate.spiffeId);
  return [buildWorkloadSecret(certificate, id), buildWorkloadSecret(certificate, `server|${id}`)];
}

function buildWorkloadSecret(certificate: HeldCertificate, name: string): WorkloadSecret {
  const secret = create(SecretSchema, {
    name,
    type: {
      case: "tlsCertificate",
      value: {
        certificateChain: { specifier: { case: "inlineBytes", value: Buffer.from(certificate.chain) } },
        privateKey: { specifier: { case: "inlineBytes", value: certificate.privateKey.reveal() } },
      },
    },
  });
  return { name, bytes: new SecretBytes(toBinary(SecretSchema, secret)) };
}

/**
 * The certificate to show for each SPIFFE ID: groups may share one (the same
 * service account), and then the one that lives longest is shown.
 */
export function chooseCertificates(held: Iterable<HeldCertificate>): ReadonlyMap<string, HeldCertificate> {
  const chosen = new Map<string, HeldCertificate>();
  for (const certificate of held) {
    const name = formatSpiffeId(certificate.spiffeId);
    const other = chosen.get(name);
    if (other === undefined || certificate.notAfterMs > other.notAfterMs) chosen.set(name, certificate);
  }
  return chosen;
}
