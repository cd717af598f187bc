import { clone, toBinary } from "@bufbuild/protobuf";
import { type RouteConfiguration, RouteConfigurationSchema } from "../../proto/gen/envoy/config/route/v3/route_pb.js";
import { fieldBytes, FieldWriter } from "../../xds/wire.ts";

/** Of envoy.config.route.v3.RouteConfiguration. */
const VIRTUAL_HOSTS = 2;

/**
 * The bytes of a route table with its virtual hosts inside, for a client that
 * does not take them one by one (VHDS). They are put in as they are encoded
 * already: protobuf reads a repeated field wherever its elements stand.
 */
export function wholeRouteTable(frame: RouteConfiguration, virtualHosts: readonly Uint8Array[]): Uint8Array {
  const plain = clone(RouteConfigurationSchema, frame);
  delete plain.vhds;
  const head = toBinary(RouteConfigurationSchema, plain);
  const writer = new FieldWriter(virtualHosts.reduce((size, { length }) => size + fieldBytes(length), head.length));
  writer.raw(head);
  for (const bytes of virtualHosts) {
    writer.open(VIRTUAL_HOSTS, bytes.length);
    writer.raw(bytes);
  }
  return writer.bytes;
}
