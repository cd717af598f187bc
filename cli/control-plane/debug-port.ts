import { type BoundGrpcServer, serveGrpc } from "../../base/grpc/server.ts";
import { GrpcError } from "../../base/grpc/status.ts";
import type { Logger } from "../../base/logger.ts";
import { type ForeignWorkload, openForeignView } from "../../discovery/push/foreign-view.ts";
import type { Push } from "../../discovery/push/push.ts";
import type { AgentsRegistry } from "../../discovery/registry/agents/registry.ts";
import type { Node } from "../../proto/gen/envoy/config/core/v3/base_pb.js";
import { createDeltaServer, DELTA_ADS_PATH } from "../../xds/delta-server.ts";
import { createSotwServer, SOTW_ADS_PATH } from "../../xds/sotw-server.ts";
import type { OpenedStream } from "../../xds/stream-server.ts";

/** Istio's node id: `sidecar~IP~NAME.NAMESPACE~DOMAIN`. */
const NODE_ID = /^sidecar~(?<address>[^~]+)~(?<name>[^~]+)\.(?<namespace>[^~.]+)~[^~]*$/;

/** Of what a client says, in an answer to it: a status travels in a header. */
const SHOWN_CHARACTERS = 200;

interface DebugPortOptions {
  readonly listen: { readonly host: string; readonly port: number };
  readonly hosts: Pick<AgentsRegistry, "hosts">;
  readonly push: Pick<Push, "setOf" | "shared" | "proxyIr">;
  readonly logger: Logger;
}

/**
 * A plaintext listener for looking: an xDS client of any make, delta or
 * state-of-the-world, says by its node id which workload it stands for, and sees
 * what that workload's proxy would be told. Nothing proves who asks, so it is for
 * loopback, and off unless it is configured.
 */
export function openDebugPort({ listen, hosts, push, logger }: DebugPortOptions): Promise<BoundGrpcServer> {
  const onOpen = (_peer: unknown, node: Node | undefined): OpenedStream => {
    const foreign = openForeignView(push, workloadOf(node, hosts));
    return {
      sets: [foreign.view],
      onNack: ({ typeUrl, message }) => logger.warn({ nodeId: node?.id, typeUrl, message }, "a client of the debug listener rejected resources"),
      onClose: () => foreign.close(),
    };
  };
  const handlers = {
    [DELTA_ADS_PATH]: createDeltaServer({ onOpen }).handler,
    [SOTW_ADS_PATH]: createSotwServer({ onOpen }).handler,
  };
  return serveGrpc({ listen, handlers, logger });
}

/** @throws GrpcError where the node id says nothing, or names nobody */
function workloadOf(node: Node | undefined, { hosts }: Pick<AgentsRegistry, "hosts">): ForeignWorkload {
  if (node === undefined) throw new GrpcError("INVALID_ARGUMENT", "the first request says no node: its id must be sidecar~IP~NAME.NAMESPACE~DOMAIN");
  const { address = "", name = "", namespace = "" } = NODE_ID.exec(node.id)?.groups ?? {};
  if (address === "") throw new GrpcError("INVALID_ARGUMENT", `the node id ${node.id.slice(0, SHOWN_CHARACTERS)} is not sidecar~IP~NAME.NAMESPACE~DOMAIN`);
  const runs = [...hosts.entries().values()].find(({ report, workloads }) =>
    workloads.some((workload) => workload.name === name && workload.group.startsWith(`${namespace}/`)) &&
    (report.facts.addresses.includes(address) || report.workloads.some(({ addresses }) => addresses.includes(address))),
  );
  if (runs === undefined) throw new GrpcError("NOT_FOUND", `no host at ${address} runs a workload ${name} of ${namespace}`.slice(0, 2 * SHOWN_CHARACTERS));
  return { hostId: runs.hostId, name };
}
