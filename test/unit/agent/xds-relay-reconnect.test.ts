import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, toBinary } from "@bufbuild/protobuf";
import { openLastKnownGood } from "../../../agent/last-known-good.ts";
import { startXdsRelay } from "../../../agent/xds-relay.ts";
import { systemClock } from "../../../base/clock.ts";
import { connectGrpc } from "../../../base/grpc/client.ts";
import { serveGrpc } from "../../../base/grpc/server.ts";
import { silentLogger } from "../../../base/logger.ts";
import { TaskGroup } from "../../../base/task-group.ts";
import { ClusterLoadAssignmentSchema } from "../../../proto/gen/envoy/config/endpoint/v3/endpoint_pb.js";
import { HostConfigSchema } from "../../../proto/gen/ironmesh/agent/v1/agent_pb.js";
import { PROTO_REGISTRY } from "../../../proto/registry.ts";
import { startDeltaClient } from "../../../xds/delta-client.ts";
import { createDeltaServer, DELTA_ADS_PATH } from "../../../xds/delta-server.ts";
import { createResource, type Resource } from "../../../xds/resource.ts";
import { createResourceSet } from "../../../xds/resource-set.ts";
import { TYPE_URLS } from "../../../xds/type-urls.ts";
import { waitUntil } from "../../support/wait-until.ts";

/** Their names and versions take more than 4 MiB. */
const RESOURCES = 14_000;

const assignment = (clusterName: string): Resource =>
  createResource(TYPE_URLS.clusterLoadAssignment, clusterName, toBinary(ClusterLoadAssignmentSchema, create(ClusterLoadAssignmentSchema, { clusterName })));

describe("the relay between control plane and Envoy, in a large mesh", function () {
  this.timeout(120_000);

  it("lets its clients come back with everything that they hold", async () => {
    const tasks = new TaskGroup();
    const folder = mkdtempSync(join(tmpdir(), "ironmesh-relay-"));
    tasks.defer(() => rmSync(folder, { recursive: true }));
    try {
      const served = createResourceSet();
      served.update((transaction) => {
        transaction.upsert(createResource(TYPE_URLS.hostConfig, "h1", toBinary(HostConfigSchema, create(HostConfigSchema, { meshDomain: "mesh.internal" }))));
        for (let index = 0; index < RESOURCES; index += 1) transaction.upsert(assignment(`outbound|80||${"x".repeat(280)}-${index}`));
      });
      const ads = createDeltaServer({ onOpen: () => ({ sets: [served], marksCompleteness: true }) });
      const server = tasks.own(await serveGrpc({ listen: { host: "127.0.0.1", port: 0 }, handlers: { [DELTA_ADS_PATH]: ads.handler }, logger: silentLogger }));
      const socketPath = join(folder, "xds.sock");
      const relay = tasks.own(
        await startXdsRelay({
          client: tasks.own(connectGrpc({ target: server.address })),
          hostId: "h1",
          socketPath,
          policy: { inboundPort: 15_006, outboundRange: [15_100, 15_199], trustedRoots: [], registry: PROTO_REGISTRY },
          secrets: [],
          lastKnownGood: await openLastKnownGood(folder, silentLogger),
          stored: await (await openLastKnownGood(folder, silentLogger)).load(),
          isEnvoyReady: () => false,
          beforeServing: () => Promise.resolve(),
          onOwnChange: () => undefined,
          onState: () => undefined,
          onRejections: () => undefined,
          clock: systemClock,
          logger: silentLogger,
        }),
      );
      await waitUntil(() => relay.upstream().phase === "synced", { what: "the relay to have everything" });

      const held = createResourceSet();
      const link = tasks.own(connectGrpc({ target: { path: socketPath } }));
      const connect = () =>
        tasks.own(startDeltaClient({ client: link, types: [TYPE_URLS.clusterLoadAssignment], set: held, node: () => ({ id: "envoy" }), completenessTimeoutMs: 100 }));
      const first = connect();
      await waitUntil(() => held.size(TYPE_URLS.clusterLoadAssignment) === RESOURCES, { what: "all of it" });
      await first.close();
      const again = connect();
      served.update((transaction) => transaction.upsert(assignment("new")));
      await waitUntil(() => held.get(TYPE_URLS.clusterLoadAssignment, "new") !== undefined || again.state().error, { what: "a change after the return" });
      assert.equal(again.state().error, undefined);
      assert.equal(held.size(TYPE_URLS.clusterLoadAssignment), RESOURCES + 1);
    } finally {
      await tasks.close();
    }
  });
});
