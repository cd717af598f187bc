import { ApiVersion, type ConfigSourceSchema } from "../../proto/gen/envoy/config/core/v3/config_source_pb.js";
import type { SdsSecretConfigSchema } from "../../proto/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js";
import type { Init } from "./resource.ts";

/** Everything that is discovered comes over the one ADS stream. */
export const ADS: Init<typeof ConfigSourceSchema> = {
  configSourceSpecifier: { case: "ads", value: {} },
  resourceApiVersion: ApiVersion.V3,
};

/** A secret by the name under which the agent serves it. */
export function secretByName(name: string): Init<typeof SdsSecretConfigSchema> {
  return { name, sdsConfig: ADS };
}
