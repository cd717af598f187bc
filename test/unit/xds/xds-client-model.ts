import { create, fromBinary } from "@bufbuild/protobuf";
import {
  type DeltaDiscoveryRequest,
  DeltaDiscoveryRequestSchema,
  type DeltaDiscoveryResponse,
  DeltaDiscoveryResponseSchema,
  type DiscoveryRequest,
  DiscoveryRequestSchema,
  type DiscoveryResponse,
  DiscoveryResponseSchema,
} from "../../../proto/gen/envoy/service/discovery/v3/discovery_pb.js";
import { createResource, type Resource } from "../../../xds/resource.ts";
import { TYPE_URLS } from "../../../xds/type-urls.ts";

type RequestFields = Partial<Pick<DeltaDiscoveryRequest, "resourceNamesSubscribe" | "resourceNamesUnsubscribe" | "initialResourceVersions" | "responseNonce">>;

/** A delta request as a client sends it. */
export function request(typeUrl: string, fields: RequestFields = {}, nack?: string): DeltaDiscoveryRequest {
  return create(DeltaDiscoveryRequestSchema, { typeUrl, ...fields, ...(nack === undefined ? {} : { errorDetail: { code: 13, message: nack } }) });
}

/** Decodes a response that is in pieces. */
export function decode(pieces: readonly Uint8Array[]): DeltaDiscoveryResponse {
  return fromBinary(DeltaDiscoveryResponseSchema, Buffer.concat(pieces));
}

/** A state-of-the-world request as a client sends it. */
export function sotwRequest(typeUrl: string, resourceNames: readonly string[] = [], responseNonce = "", nack?: string): DiscoveryRequest {
  const errorDetail = nack === undefined ? {} : { errorDetail: { code: 13, message: nack } };
  return create(DiscoveryRequestSchema, { typeUrl, resourceNames: [...resourceNames], responseNonce, ...errorDetail });
}

export function decodeSotw(pieces: readonly Uint8Array[]): DiscoveryResponse {
  return fromBinary(DiscoveryResponseSchema, Buffer.concat(pieces));
}

function shortName(typeUrl: string): string {
  return Object.entries(TYPE_URLS).find(([, url]) => url === typeUrl)?.[0] ?? typeUrl;
}

/** A state-of-the-world response in one line, with the texts of its resources: `cluster a b`. */
export function sotwSummary({ typeUrl, resources }: DiscoveryResponse): string {
  return [shortName(typeUrl), ...resources.map(({ value }) => Buffer.from(value).toString())].join(" ");
}

/** A response in one line: `CDS +a +b -c`. */
export function summary(response: DeltaDiscoveryResponse): string {
  const short = shortName(response.typeUrl);
  const added = response.resources.map(({ name, resource }) => `${resource === undefined ? "?" : "+"}${name}`);
  return [short, ...added, ...response.removedResources.map((name) => `-${name}`)].join(" ");
}

/** A resource whose bytes are this text. */
export function resource(typeUrl: string, name: string, content = name): Resource {
  return createResource(typeUrl, name, Buffer.from(content));
}
