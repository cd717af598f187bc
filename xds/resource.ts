import { hash } from "node:crypto";
import { contentHash } from "../base/content-hash.ts";
import { TYPE_URLS } from "./type-urls.ts";
import { FieldWriter, fieldBytes, fieldsOf, textOf } from "./wire.ts";

/**
 * One resource as it travels. Immutable, and the same object for every stream:
 * its bytes are encoded and framed once.
 */
export interface Resource {
  readonly typeUrl: string;
  readonly name: string;
  /** Of our own making: the hash of `bytes`. Relayed: what its maker gave it. */
  readonly version: string;
  /** The encoded message (the value of the Any). */
  readonly bytes: Uint8Array;
  /** Field 2 of DeltaDiscoveryResponse: tag, length, and the Resource message around `bytes` (which is a part of it). */
  readonly encoded: Uint8Array;
  /** What it adds to the digest of a set: the beginning of a hash over name and version. */
  readonly digestHigh: number;
  readonly digestLow: number;
  /** Of a cluster with endpoint discovery: the name of its load assignment. */
  readonly loadAssignmentName?: string;
  /** Of a route configuration: true where its virtual hosts travel by VHDS. */
  readonly usesVhds?: boolean;
}

/** Field numbers of envoy.service.discovery.v3 and google.protobuf.Any. */
const FIELD = { responseResources: 2, version: 1, any: 2, name: 3, aliases: 4, anyTypeUrl: 1, anyValue: 2 } as const;

/**
 * Frames an encoded message as a resource.
 *
 * @param version the hash of the bytes unless told: only a relay tells
 */
export function createResource(typeUrl: string, name: string, bytes: Uint8Array, version: string = contentHash(bytes)): Resource {
  const lengths = { version: Buffer.byteLength(version), name: Buffer.byteLength(name), type: Buffer.byteLength(typeUrl) };
  const anyLength = fieldBytes(lengths.type) + fieldBytes(bytes.length);
  const length = fieldBytes(lengths.version) + fieldBytes(lengths.name) + fieldBytes(anyLength);
  const writer = new FieldWriter(fieldBytes(length));
  writer.open(FIELD.responseResources, length);
  writer.text(FIELD.name, name, lengths.name);
  writer.text(FIELD.version, version, lengths.version);
  writer.open(FIELD.any, anyLength);
  writer.text(FIELD.anyTypeUrl, typeUrl, lengths.type);
  writer.open(FIELD.anyValue, bytes.length);
  const shared = writer.raw(bytes);
  const digest = hash("sha256", `${name}\0${version}`, "buffer");
  const [digestHigh, digestLow] = [digest.readInt32BE(0), digest.readInt32BE(4)];
  return { typeUrl, name, version, bytes: shared, encoded: writer.bytes, digestHigh, digestLow, ...referencesOf(typeUrl, shared) };
}

/**
 * The resource as a state-of-the-world response carries it: the bare Any, whose
 * field there has the number that it has at the end of `encoded`. Nothing is copied.
 */
export function anyFrameOf({ typeUrl, bytes, encoded }: Resource): Uint8Array {
  const anyLength = fieldBytes(Buffer.byteLength(typeUrl)) + fieldBytes(bytes.length);
  return encoded.subarray(encoded.length - fieldBytes(anyLength));
}

/**
 * A resource without a body, framed: the answer to an on-demand request for a
 * virtual host that does not exist. (A removal would leave Envoy's request
 * hanging.)
 */
export function encodeAbsentResource(name: string): Uint8Array {
  const nameLength = Buffer.byteLength(name);
  const length = 2 * fieldBytes(nameLength);
  const writer = new FieldWriter(fieldBytes(length));
  writer.open(FIELD.responseResources, length);
  writer.text(FIELD.name, name, nameLength);
  writer.text(FIELD.aliases, name, nameLength);
  return writer.bytes;
}

const CLUSTER_FIELD = { name: 1, type: 2, edsClusterConfig: 3, serviceName: 2 } as const;
const CLUSTER_TYPE_EDS = 3;
const ROUTE_CONFIGURATION_VHDS = 9;

function referencesOf(typeUrl: string, bytes: Uint8Array): Pick<Resource, "loadAssignmentName" | "usesVhds"> {
  if (typeUrl === TYPE_URLS.cluster) return clusterReferences(bytes);
  if (typeUrl === TYPE_URLS.routeConfiguration) {
    for (const { field } of fieldsOf(bytes)) if (field === ROUTE_CONFIGURATION_VHDS) return { usesVhds: true };
  }
  return {};
}

function clusterReferences(bytes: Uint8Array): Pick<Resource, "loadAssignmentName"> {
  let name = "";
  let serviceName = "";
  let isEds = false;
  for (const { field, content, value } of fieldsOf(bytes)) {
    if (field === CLUSTER_FIELD.name) name = textOf(content);
    else if (field === CLUSTER_FIELD.type) isEds = value === CLUSTER_TYPE_EDS;
    else if (field === CLUSTER_FIELD.edsClusterConfig && content !== undefined) {
      for (const inner of fieldsOf(content)) if (inner.field === CLUSTER_FIELD.serviceName) serviceName = textOf(inner.content);
    }
  }
  return isEds ? { loadAssignmentName: serviceName === "" ? name : serviceName } : {};
}

/** The route configuration that a virtual host belongs to, by its name `<route configuration>/<id>`. */
export function routeConfigurationOf(virtualHostName: string): string {
  return virtualHostName.slice(0, Math.max(0, virtualHostName.lastIndexOf("/")));
}
