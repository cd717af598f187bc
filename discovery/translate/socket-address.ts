import { familyOf } from "../../model/address.ts";
import type { AddressSchema, CidrRangeSchema } from "../../proto/gen/envoy/config/core/v3/address_pb.js";
import type { Init } from "./resource.ts";

type AddressInit = Init<typeof AddressSchema>;
type CidrInit = Init<typeof CidrRangeSchema>;

export function socketAddress(address: string, port: number): AddressInit {
  return {
    address: { case: "socketAddress", value: { address, portSpecifier: { case: "portValue", value: port } } },
  };
}

/** `10.0.0.0/8`, or one address: `10.0.0.1` is `10.0.0.1/32`. */
export function cidrRange(text: string): CidrInit {
  const [addressPrefix = "", length] = text.split("/");
  const whole = familyOf(addressPrefix) === "ipv6" ? 128 : 32;
  return { addressPrefix, prefixLen: length === undefined ? whole : Number(length) };
}

/** Where a connection must not be going when it was captured: it was dialed directly. */
export const LOOPBACK_RANGES: readonly string[] = ["127.0.0.0/8", "::1/128"];
