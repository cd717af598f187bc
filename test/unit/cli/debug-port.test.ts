import assert from "node:assert/strict";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { afterEach, beforeEach, describe, it } from "mocha";
import { connectGrpc, type GrpcClient } from "../../../base/grpc/client.ts";
import type { BoundGrpcServer } from "../../../base/grpc/server.ts";
import { SourceCollection } from "../../../base/collection.ts";
import { silentLogger } from "../../../base/logger.ts";
import { openDebugPort } from "../../../cli/control-plane/debug-port.ts";
import type { HostRecord } from "../../../discovery/registry/agents/host-record.ts";
import { DeltaDiscoveryRequestSchema, DeltaDiscoveryResponseSchema } from "../../../proto/gen/envoy/service/discovery/v3/discovery_pb.js";
import { DELTA_ADS_PATH } from "../../../xds/delta-server.ts";
import { createResource } from "../../../xds/resource.ts";
import { createResourceSet } from "../../../xds/resource-set.ts";
import { TYPE_URLS } from "../../../xds/type-urls.ts";
import { hostReport, workloadReport } from "../../support/host-report.ts";

describe("the plaintext debug listener", () => {
  let server: BoundGrpcServer;
  let client: GrpcClient;

  beforeEach(async () => {
    const hosts = new SourceCollection<HostRecord>();
    const workload = { name: "web", group: "shop/web", key: "hosts/h1/web", outboundPort: 15_101 };
    hosts.apply([["h1", { hostId: "h1", state: "connected", since: 0, report: hostReport([workloadReport()]), workloads: [workload], refusals: [] }]]);
    const shared = createResourceSet();
    const own = createResourceSet();
    shared.update((transaction) => transaction.upsert(createResource(TYPE_URLS.cluster, "of all", new Uint8Array())));
    own.update((transaction) => transaction.upsert(createResource(TYPE_URLS.cluster, "of h1", new Uint8Array())));
    server = await openDebugPort({
      listen: { host: "127.0.0.1", port: 0 },
      hosts: { hosts },
      push: { shared, setOf: (hostId) => (hostId === "h1" ? own : createResourceSet()) },
      logger: silentLogger,
    });
    assert.ok("port" in server.address);
    client = connectGrpc({ target: { host: "127.0.0.1", port: server.address.port } });
  });

  afterEach(async () => {
    await client.close();
    await server.close();
  });

  async function clustersFor(nodeId: string): Promise<string[]> {
    const stream = await client.stream(DELTA_ADS_PATH);
    const request = create(DeltaDiscoveryRequestSchema, { node: { id: nodeId }, typeUrl: TYPE_URLS.cluster });
    await stream.write(toBinary(DeltaDiscoveryRequestSchema, request));
    const answer = await stream.messages.next();
    stream.cancel();
    assert.ok(answer !== undefined);
    return fromBinary(DeltaDiscoveryResponseSchema, answer).resources.map(({ name }) => name).sort();
  }

  it("shows the host of the workload that the node id names, with what all share", async () => {
    assert.deepEqual(await clustersFor("sidecar~10.0.0.1~web.shop~shop.svc.mesh.internal"), ["of all", "of h1"]);
  });

  it("says what it does not understand, and whom it does not know", async () => {
    await assert.rejects(clustersFor("envoy-1"), /envoy-1 is not sidecar~IP~NAME\.NAMESPACE~DOMAIN/);
    await assert.rejects(clustersFor("sidecar~10.0.0.1~db.shop~x"), /no host at 10\.0\.0\.1 runs a workload db of shop/);
    await assert.rejects(clustersFor("sidecar~10.9.9.9~web.shop~x"), /no host at 10\.9\.9\.9/);
  });
});
