import { fromBinary } from "@bufbuild/protobuf";

import { HostConfigSchema, NameRecordSchema } from "../../proto/gen/ironmesh/agent/v1/agent_pb.js";
import type { Resource } from "../../xds/resource.ts";
import { TYPE_URLS } from "../../xds/type-urls.ts";
import { buildNameTable } from "./name-table.ts";
import type { NameTable } from "./name-table.ts";

/** The names in a configuration that was kept on disk; undefined where it says nothing about its host. */
export function knownNames(resources: readonly Resource[]): NameTable | undefined {
  const host = resources.find(({ typeUrl }) => typeUrl === TYPE_URLS.hostConfig);
  if (host === undefined) return undefined;
  const records = resources.filter(({ typeUrl }) => typeUrl === TYPE_URLS.nameRecord).map(({ bytes }) => fromBinary(NameRecordSchema, bytes));
  return buildNameTable(records, [fromBinary(HostConfigSchema, host.bytes).meshDomain]);
}
