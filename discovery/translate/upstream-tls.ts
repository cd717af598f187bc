import type { Cluster_TransportSocketMatchSchema } from "../../proto/gen/envoy/config/cluster/v3/cluster_pb.js";
import type { TransportSocketSchema } from "../../proto/gen/envoy/config/core/v3/base_pb.js";
import { ConfigSchema as FilterStateMapperSchema } from "../../proto/gen/envoy/extensions/transport_sockets/tls/cert_mappers/filter_state_override/v3/config_pb.js";
import { ConfigSchema as OnDemandSecretSchema } from "../../proto/gen/envoy/extensions/transport_sockets/tls/cert_selectors/on_demand_secret/v3/config_pb.js";
import { RawBufferSchema } from "../../proto/gen/envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer_pb.js";
import { UpstreamTlsContextSchema } from "../../proto/gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js";
import {
  type CertificateValidationContextSchema,
  TlsParameters_TlsProtocol as TlsVersion,
} from "../../proto/gen/envoy/extensions/transport_sockets/tls/v3/common_pb.js";
import type { UpstreamTlsIr } from "../ir/cluster.ts";
import { ADS, secretByName } from "./config-source.ts";
import { MESH_TLS_MATCH } from "./metadata.ts";
import { type Init, pack } from "./resource.ts";
import { dnsSan, uriSan } from "./validation.ts";

type TransportSocketInit = Init<typeof TransportSocketSchema>;
type Originate = Extract<UpstreamTlsIr, { mode: "originate" }>;
type Mesh = Extract<UpstreamTlsIr, { mode: "mesh" }>;

/** Debian's and, by a link that most distributions keep, everybody's file of public roots. */
const SYSTEM_ROOTS = "/etc/ssl/certs/ca-certificates.crt";

/**
 * The secret that a connection without a workload's identity would ask for.
 * No agent ever serves it, so that such a connection fails instead of going out
 * under somebody's name.
 */
export const NO_IDENTITY = "no-workload-identity";

/** Raw TCP. */
export const PLAIN_SOCKET: TransportSocketInit = {
  name: "envoy.transport_sockets.raw_buffer",
  configType: { case: "typedConfig", value: pack(RawBufferSchema, {}) },
};

/** Mutual TLS to the endpoints that speak it, plain TCP to the others. */
export function meshSocketMatches(tls: Mesh): Init<typeof Cluster_TransportSocketMatchSchema>[] {
  return [
    { name: "mesh", match: { ...MESH_TLS_MATCH }, transportSocket: meshSocket(tls) },
    { name: "plain", match: {}, transportSocket: PLAIN_SOCKET },
  ];
}

/**
 * One cluster serves every workload of the host: the certificate is chosen per
 * connection by the name that the outbound listener put into the filter state
 * (`outbound-listener.ts`).
 */
function meshSocket(tls: Mesh): TransportSocketInit {
  return tlsSocket({
    commonTlsContext: {
      // Envoy's client stops at 1.2 unless told otherwise.
      tlsParams: { tlsMinimumProtocolVersion: TlsVersion.TLSv1_3, tlsMaximumProtocolVersion: TlsVersion.TLSv1_3 },
      customTlsCertificateSelector: {
        name: "envoy.tls.upstream_certificate_selectors.on_demand_secret",
        typedConfig: pack(OnDemandSecretSchema, {
          configSource: ADS,
          certificateMapper: {
            name: "envoy.tls.upstream_certificate_mappers.filter_state_override",
            typedConfig: pack(FilterStateMapperSchema, { defaultValue: NO_IDENTITY }),
          },
        }),
      },
      validationContextType: {
        case: "validationContextSdsSecretConfig",
        value: secretByName(tls.validationSecret),
      },
      // No ALPN: a name of our own would make the server's codec choose HTTP/1 for gRPC.
    },
    sni: tls.sni,
    // A resumed session would carry the identity of whoever opened it.
    maxSessionKeys: 0,
  });
}

/** TLS as an ordinary client, without a certificate of its own. */
export function originateSocket(tls: Originate): TransportSocketInit {
  return tlsSocket({
    commonTlsContext: {
      tlsParams: { tlsMinimumProtocolVersion: TlsVersion.TLSv1_2, tlsMaximumProtocolVersion: TlsVersion.TLSv1_3 },
      ...(tls.insecureSkipVerify
        ? {}
        : { validationContextType: { case: "validationContext", value: publicValidation(tls) } }),
    },
    sni: tls.sni,
  });
}

/** Roots alone would accept any public site's certificate: the name is checked too. */
function publicValidation(tls: Originate): Init<typeof CertificateValidationContextSchema> {
  const names = tls.subjectAltNames.length === 0 ? [tls.sni] : tls.subjectAltNames;
  return {
    trustedCa: { specifier: { case: "filename", value: tls.caFile ?? SYSTEM_ROOTS } },
    matchTypedSubjectAltNames: names.map((value) =>
      value.includes("://") ? uriSan({ kind: "exact", value }) : dnsSan(value),
    ),
  };
}

function tlsSocket(context: Init<typeof UpstreamTlsContextSchema>): TransportSocketInit {
  return {
    name: "envoy.transport_sockets.tls",
    configType: { case: "typedConfig", value: pack(UpstreamTlsContextSchema, context) },
  };
}
