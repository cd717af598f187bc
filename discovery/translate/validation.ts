import { create } from "@bufbuild/protobuf";
import {
  type SubjectAltNameMatcherSchema,
  SubjectAltNameMatcher_SanType,
} from "../../proto/gen/envoy/extensions/transport_sockets/tls/v3/common_pb.js";
import { SecretSchema } from "../../proto/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js";
import { SPIFFECertValidatorConfigSchema } from "../../proto/gen/envoy/extensions/transport_sockets/tls/v3/tls_spiffe_validator_config_pb.js";
import type { ClientValidationIr, ValidationIr } from "../ir/cluster.ts";
import { type Init, pack, sortedByKey, translated, type TranslatedResource } from "./resource.ts";
import { stringMatcher } from "./string-matcher.ts";

type SanMatcherInit = Init<typeof SubjectAltNameMatcherSchema>;

/**
 * In no trust domain and never issued. An empty list of matchers would mean
 * "anybody whom the bundles vouch for"; this one means nobody.
 */
const NOBODY = "spiffe://nobody.invalid/";

/** Whom a client accepts as a server: exactly the identities of the service. */
export function translateValidation({ name, identities, trustBundles }: ValidationIr): TranslatedResource {
  const accepted = identities.length === 0 ? [NOBODY] : identities.toSorted();
  return validationSecret(name, accepted.map((identity) => uriSan({ kind: "exact", value: identity })), trustBundles);
}

/**
 * Whom a server accepts as a client: workloads of the trusted domains. Hosts
 * (`/host/…`) and the control plane have certificates of the same roots and are
 * refused by their path. RBAC decides about the rest.
 */
export function translateClientValidation({ name, trustBundles }: ClientValidationIr): TranslatedResource {
  const prefixes = Object.keys(trustBundles).toSorted().map((domain) => `spiffe://${domain}/ns/`);
  return validationSecret(name, prefixes.map((value) => uriSan({ kind: "prefix", value })), trustBundles);
}

/** A matcher of the peer's SPIFFE ID; a DNS or e-mail name never satisfies it. */
export function uriSan(match: Parameters<typeof stringMatcher>[0]): SanMatcherInit {
  return { sanType: SubjectAltNameMatcher_SanType.URI, matcher: stringMatcher(match) };
}

/** A matcher of the DNS name in the certificate of a server outside of the mesh. */
export function dnsSan(name: string): SanMatcherInit {
  return { sanType: SubjectAltNameMatcher_SanType.DNS, matcher: stringMatcher({ kind: "exact", value: name }) };
}

function validationSecret(
  name: string,
  sans: readonly SanMatcherInit[],
  trustBundles: Readonly<Record<string, string>>,
): TranslatedResource {
  const bundles = Object.entries(sortedByKey(trustBundles));
  // Envoy takes a validator without bundles for an error, and one without any validator for "accept all".
  if (bundles.length === 0) throw new Error(`validation ${name} has no trust bundle`);
  const secret = create(SecretSchema, {
    name,
    type: {
      case: "validationContext",
      value: {
        matchTypedSubjectAltNames: [...sans],
        customValidatorConfig: {
          name: "envoy.tls.cert_validator.spiffe",
          typedConfig: pack(SPIFFECertValidatorConfigSchema, {
            trustDomains: bundles.map(([domain, pem]) => ({
              name: domain,
              trustBundle: { specifier: { case: "inlineString" as const, value: pem } },
            })),
          }),
        },
      },
    },
  });
  return translated(SecretSchema, name, secret);
}
