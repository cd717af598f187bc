import { fromBinary, toJson } from "@bufbuild/protobuf";
import { PROTO_REGISTRY } from "./registry.ts";

const PREFIX = "type.googleapis.com/";

/**
 * A resource's bytes as proto JSON with its `Any`s opened. Private keys are
 * never shown, should a resource hold any.
 *
 * @throws where the type is not one that we generate
 */
export function toEnvoyJson(typeUrl: string, bytes: Uint8Array): unknown {
  const schema = PROTO_REGISTRY.getMessage(typeUrl.slice(PREFIX.length));
  if (schema === undefined) throw new Error(`no schema for ${typeUrl}`);
  return redacted(toJson(schema, fromBinary(schema, bytes), { registry: PROTO_REGISTRY }));
}

function redacted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(redacted);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, key === "privateKey" ? "[redacted]" : redacted(inner)]));
}
