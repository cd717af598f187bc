import type { TransportSocketSchema } from "../../proto/gen/envoy/config/core/v3/base_pb.js";
import { TlsParameters_TlsProtocol as TlsVersion } from "../../proto/gen/envoy/extensions/transport_sockets/tls/v3/common_pb.js";
import { DownstreamTlsContextSchema } from "../../proto/gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js";
import { serverSecretName } from "../ir/names.ts";
import { secretByName } from "./config-source.ts";
import { type Init, pack } from "./resource.ts";

/** Mutual TLS under a workload's own certificate. */
export function downstreamTls(identity: string, clientValidationSecret: string): Init<typeof TransportSocketSchema> {
  return {
    name: "envoy.transport_sockets.tls",
    configType: {
      case: "typedConfig",
      value: pack(DownstreamTlsContextSchema, {
        commonTlsContext: {
          tlsParams: { tlsMinimumProtocolVersion: TlsVersion.TLSv1_3, tlsMaximumProtocolVersion: TlsVersion.TLSv1_3 },
          tlsCertificateSdsSecretConfigs: [secretByName(serverSecretName(identity))],
          validationContextType: {
            case: "validationContextSdsSecretConfig",
            value: secretByName(clientValidationSecret),
          },
          alpnProtocols: ["h2", "http/1.1"],
        },
        requireClientCertificate: true,
        // A resumed session would outlive the revocation of the certificate that opened it.
        sessionTicketKeysType: { case: "disableStatelessSessionResumption", value: true },
        disableStatefulSessionResumption: true,
      }),
    },
  };
}
