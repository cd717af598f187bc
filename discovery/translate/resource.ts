import { create, type DescMessage, type Message, type MessageInitShape, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { type Any, anyPack } from "@bufbuild/protobuf/wkt";
import { contentHash } from "../../base/content-hash.ts";

/**
 * One Envoy resource as a message, before it is bytes. `name` is the name by
 * which Envoy subscribes to it.
 */
export interface TranslatedResource {
  readonly typeUrl: string;
  readonly name: string;
  readonly schema: DescMessage;
  readonly message: Message;
}

/** A resource as it travels, before it is framed: equal bytes have equal versions, on every replica. */
export interface EncodedResource {
  readonly typeUrl: string;
  readonly name: string;
  /** The hash of `bytes`. */
  readonly version: string;
  /** The binary protobuf message, without its `Any`. */
  readonly bytes: Uint8Array;
}

/**
 * Makes one resource. Maps inside `message` must be built with sorted keys
 * (`sortedByKey`): protobuf writes them in the order in which they are inserted.
 */
export function translated<Desc extends DescMessage>(
  schema: Desc,
  name: string,
  message: MessageShape<Desc>,
): TranslatedResource {
  return { typeUrl: typeUrlOf(schema), name, schema, message };
}

export function encodeResource({ typeUrl, name, schema, message }: TranslatedResource): EncodedResource {
  const bytes = toBinary(schema, message);
  return { typeUrl, name, version: contentHash(bytes), bytes };
}

export function typeUrlOf(schema: DescMessage): string {
  return `type.googleapis.com/${schema.typeName}`;
}

/**
 * A message as one writes it, without what `create` fills in. (Not protobuf's own
 * `MessageInitShape`: that may be a finished message too, and each spread of such
 * a union doubles the work of the type checker.)
 */
export type Init<Desc extends DescMessage> = Exclude<MessageInitShape<Desc>, Message>;

/** A message inside an `Any`, as Envoy's `typed_config` fields take it. */
export function pack<Desc extends DescMessage>(schema: Desc, init: MessageInitShape<Desc>): Any {
  return anyPack(schema, create(schema, init));
}

/** By type, then name: the order of everything that leaves the translation. */
export function sortResources(resources: readonly TranslatedResource[]): TranslatedResource[] {
  return resources.toSorted((left, right) => compare(left.typeUrl, right.typeUrl) || compare(left.name, right.name));
}

/** The same entries, keys ascending: the canonical order of a protobuf map. */
export function sortedByKey<T>(record: Readonly<Record<string, T>>): Record<string, T> {
  return Object.fromEntries(Object.entries(record).toSorted(([left], [right]) => compare(left, right)));
}

function compare(left: string, right: string): number {
  if (left === right) return 0;
  return left < right ? -1 : 1;
}
