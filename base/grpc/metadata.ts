import type { IncomingHttpHeaders } from "node:http2";

/**
 * Metadata of a call: lower-case keys. The value of a key that ends in `-bin`
 * is base64 text, as it travels.
 */
export type Metadata = Readonly<Record<string, string>>;

const OF_THE_PROTOCOL = new Set(["content-type", "te", "user-agent", "grpc-encoding", "grpc-accept-encoding"]);
const RESERVED = new Set([...OF_THE_PROTOCOL, "grpc-timeout", "grpc-status", "grpc-message"]);

/** The caller's own metadata among the headers of a request or response. */
export function metadataOf(headers: IncomingHttpHeaders): Metadata {
  const metadata: Record<string, string> = {};
  for (const [key, value] of Object.entries(headers)) {
    if (key.startsWith(":") || RESERVED.has(key) || value === undefined) continue;
    metadata[key] = Array.isArray(value) ? value.join(", ") : value;
  }
  return metadata;
}

const KEY = /^[0-9a-z_.-]+$/u;
const VALUE = /^[\x20-\x7e]*$/u;

/** Checks metadata that is about to be sent. @throws TypeError on a key or value that HTTP/2 cannot carry: a bug of the caller */
export function checkMetadata(metadata: Metadata): Metadata {
  for (const [key, value] of Object.entries(metadata)) {
    if (!KEY.test(key) || key.startsWith("grpc-") || RESERVED.has(key)) throw new TypeError(`"${key}" cannot be a metadata key`);
    if (!VALUE.test(value)) throw new TypeError(`the value of metadata "${key}" is not printable ASCII`);
  }
  return metadata;
}
