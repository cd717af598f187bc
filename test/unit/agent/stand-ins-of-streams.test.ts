import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { openLastKnownGood } from "../../../agent/last-known-good.ts";
import { startXdsRelay } from "../../../agent/xds-relay.ts";
import type { XdsRelay } from "../../../agent/xds-relay.ts";
import { connectGrpc } from "../../../base/grpc/client.ts";
import type { ClientStream } from "../../../base/grpc/client.ts";
import { serveGrpc } from "../../../base/grpc/server.ts";
import { silentLogger } from "../../../base/logger.ts";
import { TaskGroup } from "../../../base/task-group.ts";
import { ClusterSchema } from "../../../proto/gen/envoy/config/cluster/v3/cluster_pb.js";
import { DeltaDiscoveryRequestSchema, DeltaDiscoveryResponseSchema } from "../../../proto/gen/envoy/service/discovery/v3/discovery_pb.js";
import type { DeltaDiscoveryResponse } from "../../../proto/gen/envoy/service/discovery/v3/discovery_pb.js";
import { HostConfigSchema } from "../../../proto/gen/ironmesh/agent/v1/agent_pb.js";
import { PROTO_REGISTRY } from "../../../proto/registry.ts";
import { createDeltaServer, DELTA_ADS_PATH } from "../../../xds/delta-server.ts";
import { createResource } from "../../../xds/resource.ts";
import type { Resource } from "../../../xds/resource.ts";
import { createResourceSet } from "../../../xds/resource-set.ts";
import type { ResourceSet } from "../../../xds/resource-set.ts";
import { TYPE_URLS } from "../../../xds/type-urls.ts";
import { createManualClock } from "../../support/manual-clock.ts";
import type { ManualClock } from "../../support/manual-clock.ts";
import { waitUntil } from "../../support/wait-until.ts";

const cluster = (content: string): Resource => createResource(TYPE_URLS.cluster, "a", toBinary(ClusterSchema, create(ClusterSchema, { name: "a", altStatName: content })), content);
const hostConfig = createResource(TYPE_URLS.hostConfig, "h1", toBinary(HostConfigSchema, create(HostConfigSchema, { meshDomain: "mesh.internal" })));

/** An Envoy that answers when the test has it answer. */
interface SlowEnvoy {
  /** What it was told of the cluster, in order: versions. */
  readonly told: string[];
  /** Answers to the oldest response that has no answer. */
  answer(refusal?: string): Promise<void>;
  /** Answers to each response from now on, and refuses this version. */
  answerAll(refused?: string): void;
}

describe("what stands in for what one of several Envoys refuses, or a slow one", () => {
  let tasks: TaskGroup;
  let folder: string;
  let clock: ManualClock;
  let served: ResourceSet;
  let relay: XdsRelay;

  const put = (resource: Resource): void => served.update((transaction) => transaction.upsert(resource));
  const startRelay = async (stored: readonly Resource[] = []): Promise<void> => {
    const server = createDeltaServer({ onOpen: () => ({ sets: [served], marksCompleteness: true }) });
    const upstream = tasks.own(await serveGrpc({ listen: { host: "127.0.0.1", port: 0 }, handlers: { [DELTA_ADS_PATH]: server.handler }, logger: silentLogger }));
    relay = tasks.own(
      await startXdsRelay({
        client: tasks.own(connectGrpc({ target: upstream.address })),
        hostId: "h1",
        socketPath: join(folder, "xds.sock"),
        policy: { inboundPort: 15_006, outboundRange: [15_100, 15_199], trustedRoots: [], registry: PROTO_REGISTRY },
        secrets: [],
        lastKnownGood: await openLastKnownGood(folder, silentLogger),
        stored: stored.length === 0 ? undefined : { number: 1, savedAtMs: 0, resources: stored },
        isEnvoyReady: () => true,
        beforeServing: () => Promise.resolve(),
        onOwnChange: () => undefined,
        onState: () => undefined,
        onRejections: () => undefined,
        clock,
        logger: silentLogger,
      }),
    );
    await waitUntil(() => relay.upstream().phase === "synced", { what: "the control plane's word" });
  };
  const startEnvoy = async (minorNumber = 40, held: Readonly<Record<string, string>> = {}): Promise<SlowEnvoy> => {
    const client = tasks.own(connectGrpc({ target: { path: join(folder, "xds.sock") } }));
    const stream: ClientStream = await client.stream(DELTA_ADS_PATH);
    const say = (request: MessageInitShape<typeof DeltaDiscoveryRequestSchema>): Promise<void> => stream.write(toBinary(DeltaDiscoveryRequestSchema, create(DeltaDiscoveryRequestSchema, { typeUrl: TYPE_URLS.cluster, ...request })));
    const told: string[] = [];
    const unanswered: DeltaDiscoveryResponse[] = [];
    let judge: ((response: DeltaDiscoveryResponse) => string | undefined) | undefined;
    const respond = ({ nonce }: DeltaDiscoveryResponse, refusal?: string): Promise<void> => say({ responseNonce: nonce, ...(refusal === undefined ? {} : { errorDetail: { code: 3, message: refusal } }) });
    const listen = async (): Promise<void> => {
      for await (const message of stream.messages) {
        const response = fromBinary(DeltaDiscoveryResponseSchema, message);
        told.push(...response.resources.map(({ version }) => version));
        if (judge === undefined) unanswered.push(response);
        else await respond(response, judge(response));
      }
    };
    listen().catch(() => undefined);
    await say({ node: { id: "envoy", userAgentVersionType: { case: "userAgentBuildVersion", value: { version: { majorNumber: 1, minorNumber } } } }, initialResourceVersions: held });
    return {
      told,
      async answer(refusal) {
        const response = unanswered.shift();
        assert.ok(response !== undefined, "there is something to answer");
        await respond(response, refusal);
      },
      answerAll(refused) {
        judge = ({ resources }) => (resources.some(({ version }) => version === refused) ? "it is bad" : undefined);
        for (const response of unanswered.splice(0)) void respond(response, judge(response));
      },
    };
  };
  const isTold = (envoy: SlowEnvoy, ...versions: readonly string[]): Promise<unknown> => waitUntil(() => envoy.told.join() === versions.join(), { what: `${versions.join()} to be told` });
  const rest = (): Promise<unknown> => waitUntil(() => relay.isEnvoyInSync(), { what: "every answer" });

  beforeEach(() => {
    tasks = new TaskGroup();
    folder = mkdtempSync(join(tmpdir(), "ironmesh-relay-"));
    clock = createManualClock();
    served = createResourceSet();
    put(hostConfig);
  });
  afterEach(async () => {
    await tasks.close();
    rmSync(folder, { recursive: true });
  });

  it("is what it took last, also where that was replaced before it said so", async () => {
    put(cluster("1"));
    await startRelay();
    const envoy = await startEnvoy();
    await isTold(envoy, "1");
    await envoy.answer();
    put(cluster("2"));
    await isTold(envoy, "1", "2");
    put(cluster("bad"));
    await isTold(envoy, "1", "2", "bad");
    // An Envoy acknowledges a cluster once it is warm.
    await envoy.answer();
    envoy.answerAll("bad");
    await waitUntil(() => relay.rejections().length === 1, { what: "the refusal" });
    await isTold(envoy, "1", "2", "bad", "2");
    await rest();
    const another = await startEnvoy();
    await isTold(another, "2");
  });

  it("is what was there before it came, also where that was replaced before it said that it took it", async () => {
    put(cluster("1"));
    await startRelay();
    const envoy = await startEnvoy();
    await isTold(envoy, "1");
    put(cluster("bad"));
    await isTold(envoy, "1", "bad");
    await envoy.answer();
    envoy.answerAll("bad");
    await waitUntil(() => relay.rejections().length === 1, { what: "the refusal" });
    await rest();
    const another = await startEnvoy();
    await waitUntil(() => another.told.length > 0, { what: "another Envoy to be told" });
    assert.deepEqual(another.told, ["1"]);
  });

  it("is nothing older than what an Envoy comes with that the agent does not have any more", async () => {
    put(cluster("bad"));
    await startRelay([hostConfig, cluster("1")]);
    const envoy = await startEnvoy(40, { a: "2" });
    envoy.answerAll("bad");
    await waitUntil(() => relay.rejections().length === 1, { what: "the refusal" });
    await rest();
    assert.deepEqual(envoy.told, ["bad"]);
  });

  it("is not for an Envoy of another release, which starts while that of before still serves", async () => {
    put(cluster("1"));
    await startRelay();
    const older = await startEnvoy(40);
    await isTold(older, "1");
    older.answerAll("bad");
    await rest();
    put(cluster("bad"));
    await isTold(older, "1", "bad", "1");
    const newer = await startEnvoy(41);
    await isTold(newer, "bad");
    // The older one says that it refuses it once more, and then the newer one that it takes it.
    await waitUntil(() => older.told.filter((version) => version === "bad").length === 2, { what: "another try" });
    newer.answerAll();
    await rest();
    assert.deepEqual([newer.told, older.told], [["bad"], ["1", "bad", "1", "bad"]]);
  });
});
