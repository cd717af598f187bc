import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { type ClientStream, connectGrpc, type GrpcClientOptions } from "../base/grpc/client.ts";
import type { NodeSchema } from "../proto/gen/envoy/config/core/v3/base_pb.js";
import { DeltaDiscoveryRequestSchema } from "../proto/gen/envoy/service/discovery/v3/discovery_pb.js";
import { DELTA_ADS_PATH } from "../xds/delta-server.ts";
import { TYPE_URLS } from "../xds/type-urls.ts";
import { fieldsOf, textOf } from "../xds/wire.ts";

/** What a simulated proxy asks for. */
export interface PushClientOptions {
  readonly connection: GrpcClientOptions;
  readonly node: MessageInitShape<typeof NodeSchema>;
  /** Asked for as a whole, in this order. Our own agent asks for everything so. */
  readonly wildcardTypes: readonly string[];
  /** Also asks for the load assignment of each cluster by name, once, as Envoy does. */
  readonly fetchesAssignmentsByName?: boolean;
  /** Asked for by name. */
  readonly routeConfigurations?: readonly string[];
  /** Also sends the request without names that Envoy sends for pushed virtual hosts. */
  readonly takesVirtualHosts?: boolean;
  /** Told of each resource that arrives; an empty version is a removal. */
  readonly onResource?: (typeUrl: string, name: string, version: string) => void;
}

/** A proxy that holds names and versions and applies nothing. */
export interface PushClient {
  /** Bytes of messages received. */
  bytes(): number;
  responses(): number;
  /** How many resources of a type it holds. */
  held(typeUrl: string): number;
  version(typeUrl: string, name: string): string | undefined;
  close(): Promise<void>;
}

const RESPONSE = { resources: 2, typeUrl: 4, nonce: 5, removed: 6 } as const;
const RESOURCE = { version: 1, name: 3 } as const;

/** One string for all clients of the process: what a client costs must not hide what the server costs. */
const interned = new Map<string, string>();
function intern(text: string): string {
  const known = interned.get(text);
  if (known !== undefined) return known;
  interned.set(text, text);
  return text;
}

/** Connects, subscribes and acknowledges everything until it is closed. */
export async function startPushClient(options: PushClientOptions): Promise<PushClient> {
  const { connection, node, wildcardTypes, routeConfigurations = [], onResource } = options;
  const client = connectGrpc(connection);
  const stream = await client.stream(DELTA_ADS_PATH);
  const held = new Map<string, Map<string, string>>();
  let bytes = 0;
  let responses = 0;

  const ask = (fields: MessageInitShape<typeof DeltaDiscoveryRequestSchema>): Promise<void> =>
    stream.write(toBinary(DeltaDiscoveryRequestSchema, create(DeltaDiscoveryRequestSchema, fields)));
  const take = async (message: Uint8Array): Promise<void> => {
    bytes += message.length;
    responses += 1;
    const { typeUrl, nonce, resources, removed } = scan(message);
    const ofType = held.get(typeUrl) ?? new Map<string, string>();
    held.set(typeUrl, ofType);
    const newNames: string[] = [];
    for (const { name, version } of resources) {
      if (!ofType.has(name)) newNames.push(name);
      ofType.set(name, version);
      onResource?.(typeUrl, name, version);
    }
    for (const name of removed) {
      ofType.delete(name);
      onResource?.(typeUrl, name, "");
    }
    await ask({ typeUrl, responseNonce: nonce });
    if (typeUrl === TYPE_URLS.cluster && options.fetchesAssignmentsByName === true && newNames.length > 0) {
      await ask({ typeUrl: TYPE_URLS.clusterLoadAssignment, resourceNamesSubscribe: newNames });
    }
  };
  const subscribe = async (): Promise<void> => {
    for (const [index, typeUrl] of wildcardTypes.entries()) {
      await ask({ typeUrl, resourceNamesSubscribe: ["*"], ...(index === 0 ? { node } : {}) });
    }
    if (routeConfigurations.length > 0) await ask({ typeUrl: TYPE_URLS.routeConfiguration, resourceNamesSubscribe: [...routeConfigurations] });
    if (options.takesVirtualHosts === true) await ask({ typeUrl: TYPE_URLS.virtualHost });
  };
  await subscribe();
  const reading = read(stream, take);

  return {
    bytes: () => bytes,
    responses: () => responses,
    held: (typeUrl) => held.get(typeUrl)?.size ?? 0,
    version: (typeUrl, name) => held.get(typeUrl)?.get(name),
    async close() {
      await client.close();
      await reading;
    },
  };
}

async function read(stream: ClientStream, take: (message: Uint8Array) => Promise<void>): Promise<void> {
  try {
    for await (const message of stream.messages) await take(message);
  } catch {
    // The stream is over; who cares finds out by what did not arrive.
  }
}

interface Scanned {
  typeUrl: string;
  nonce: string;
  readonly resources: { readonly name: string; readonly version: string }[];
  readonly removed: string[];
}

/** Reads the names of a DeltaDiscoveryResponse and skips its bodies. */
function scan(message: Uint8Array): Scanned {
  const scanned: Scanned = { typeUrl: "", nonce: "", resources: [], removed: [] };
  for (const { field, content } of fieldsOf(message)) {
    if (content === undefined) continue;
    if (field === RESPONSE.typeUrl) scanned.typeUrl = intern(textOf(content));
    else if (field === RESPONSE.nonce) scanned.nonce = textOf(content);
    else if (field === RESPONSE.removed) scanned.removed.push(intern(textOf(content)));
    else if (field === RESPONSE.resources) {
      let name = "";
      let version = "";
      for (const inner of fieldsOf(content)) {
        if (inner.field === RESOURCE.name) name = intern(textOf(inner.content));
        else if (inner.field === RESOURCE.version) version = intern(textOf(inner.content));
      }
      scanned.resources.push({ name, version });
    }
  }
  return scanned;
}
