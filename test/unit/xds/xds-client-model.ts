import { create, fromBinary } from "@bufbuild/protobuf";
import {
  type DeltaDiscoveryRequest,
  DeltaDiscoveryRequestSchema,
  type DeltaDiscoveryResponse,
  DeltaDiscoveryResponseSchema,
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

/** A response in one line: `CDS +a +b -c`. */
export function summary(response: DeltaDiscoveryResponse): string {
  const short = Object.entries(TYPE_URLS).find(([, url]) => url === response.typeUrl)?.[0] ?? response.typeUrl;
  const added = response.resources.map(({ name, resource }) => `${resource === undefined ? "?" : "+"}${name}`);
  return [short, ...added, ...response.removedResources.map((name) => `-${name}`)].join(" ");
}

/** A resource whose bytes are this text. */
export function resource(typeUrl: string, name: string, content = name): Resource {
  return createResource(typeUrl, name, Buffer.from(content));
}
