import { create } from "@bufbuild/protobuf";
import { HostConfigSchema } from "../../proto/gen/ironmesh/agent/v1/agent_pb.js";
import type { HostIr } from "../ir/proxy.ts";
import { translated, type TranslatedResource } from "../translate/resource.ts";
import type { ProxyHost, PushSettings } from "./inputs.ts";

/** What the agent of a host is told about itself: identities, the ports to capture, and which of them fail closed. */
export function hostConfig(host: ProxyHost, proxy: HostIr, settings: PushSettings): TranslatedResource {
  const workloads = proxy.workloads.map(({ name, identity, inbound }) => {
    const own = host.workloads.find((workload) => workload.name === name);
    return {
      name,
      spiffeId: identity,
      group: own?.group ?? "",
      probe: own?.probe ?? "",
      ports: inbound.map(({ port, mtls, authorization }) => ({
        port,
        failClosed: mtls === "STRICT" || authorization.allow.length > 0 || authorization.deny.length > 0,
      })),
    };
  });
  const message = create(HostConfigSchema, {
    workloads,
    vipRanges: [...settings.vipRanges],
    meshDomain: settings.meshDomain,
    trustDomain: settings.trustDomain,
  });
  return translated(HostConfigSchema, host.hostId, message);
}
