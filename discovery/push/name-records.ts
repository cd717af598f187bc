import { create } from "@bufbuild/protobuf";
import type { Service } from "../../model/service.ts";
import { NameRecordSchema } from "../../proto/gen/ironmesh/agent/v1/agent_pb.js";
import { translated, type TranslatedResource } from "../translate/resource.ts";

/**
 * The names that agents answer with a service's virtual addresses. Names of the
 * mesh domain always; a host that somebody declared keeps its real addresses
 * unless the declaration brought addresses along, because a resolver that is
 * asked for it elsewhere would disagree. Native names stay their registries'.
 */
export function nameRecords(service: Service, meshDomain: string): TranslatedResource[] {
  const isOurs = service.hostname.endsWith(`.${meshDomain}`);
  if (!isOurs || service.vips.length === 0) return [];
  const record = create(NameRecordSchema, { name: service.hostname, addresses: [...service.vips] });
  return [translated(NameRecordSchema, service.hostname, record)];
}
