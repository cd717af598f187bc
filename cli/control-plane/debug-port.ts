import { type BoundGrpcServer, serveGrpc } from "../../base/grpc/server.ts";
import { GrpcError } from "../../base/grpc/status.ts";
import type { Logger } from "../../base/logger.ts";
import type { Push } from "../../discovery/push/push.ts";
import type { AgentsRegistry } from "../../discovery/registry/agents/registry.ts";
import { createDeltaServer, DELTA_ADS_PATH } from "../../xds/delta-server.ts";

/** Istio's node id: `sidecar~IP~NAME.NAMESPACE~DOMAIN`. */
const NODE_ID = /^[a-z]+~(?<address>[^~]+)~(?<name>[^~.]+)\.(?<namespace>[^~.]+)~[^~]*$/;

interface DebugPortOptions {
  readonly listen: { readonly host: string; readonly port: number };
  readonly hosts: Pick<AgentsRegistry, "hosts">;
  readonly push: Pick<Push, "setOf" | "shared">;
  readonly logger: Logger;
}

/**
 * A plaintext listener for looking: any delta xDS client says by its node id
 * which workload it stands for, and sees what that workload's host gets. Nothing
 * proves who asks, so it is for loopback, and off unless it is configured.
 */
export function openDebugPort({ listen, hosts, push, logger }: DebugPortOptions): Promise<BoundGrpcServer> {
  const hostOf = (nodeId: string): string => {
    const { address = "", name = "", namespace = "" } = NODE_ID.exec(nodeId)?.groups ?? {};
    if (address === "") throw new GrpcError("INVALID_ARGUMENT", `the node id ${nodeId} is not sidecar~IP~NAME.NAMESPACE~DOMAIN`);
    const runs = [...hosts.hosts.entries().values()].find(({ report, workloads }) =>
      workloads.some((workload) => workload.name === name && workload.group.startsWith(`${namespace}/`)) &&
      (report.facts.addresses.includes(address) || report.workloads.some(({ addresses }) => addresses.includes(address))),
    );
    if (runs === undefined) throw new GrpcError("NOT_FOUND", `no host at ${address} runs a workload ${name} of ${namespace}`);
    return runs.hostId;
  };
  const delta = createDeltaServer({
    onOpen: (_peer, node) => ({ sets: [push.setOf(hostOf(node?.id ?? "")), push.shared] }),
  });
  return serveGrpc({ listen, handlers: { [DELTA_ADS_PATH]: delta.handler }, logger });
}
