import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { openLastKnownGood } from "../../../agent/last-known-good.ts";
import type { GuardPolicy } from "../../../agent/resource-guard.ts";
import { startXdsRelay } from "../../../agent/xds-relay.ts";
import type { XdsRelay } from "../../../agent/xds-relay.ts";
import { connectGrpc } from "../../../base/grpc/client.ts";
import { serveGrpc } from "../../../base/grpc/server.ts";
import type { BoundGrpcServer } from "../../../base/grpc/server.ts";
import { silentLogger } from "../../../base/logger.ts";
import { TaskGroup } from "../../../base/task-group.ts";
import { ClusterSchema } from "../../../proto/gen/envoy/config/cluster/v3/cluster_pb.js";
import { ListenerSchema } from "../../../proto/gen/envoy/config/listener/v3/listener_pb.js";
import { HostConfigSchema } from "../../../proto/gen/ironmesh/agent/v1/agent_pb.js";
import { PROTO_REGISTRY } from "../../../proto/registry.ts";
import { startDeltaClient } from "../../../xds/delta-client.ts";
import type { DeltaClient } from "../../../xds/delta-client.ts";
import { createDeltaServer, DELTA_ADS_PATH } from "../../../xds/delta-server.ts";
import { createResource } from "../../../xds/resource.ts";
import type { Resource } from "../../../xds/resource.ts";
import { createResourceSet } from "../../../xds/resource-set.ts";
import type { ResourceSet } from "../../../xds/resource-set.ts";
import { TYPE_URLS } from "../../../xds/type-urls.ts";
import { createManualClock } from "../../support/manual-clock.ts";
import type { ManualClock } from "../../support/manual-clock.ts";
import { waitUntil } from "../../support/wait-until.ts";

const cluster = (name: string, content: string): Resource => createResource(TYPE_URLS.cluster, name, toBinary(ClusterSchema, create(ClusterSchema, { name, altStatName: content })));
const PLACE = { workload: "web", address: "", port: 8_080 };
/** Serves a workload that may be withheld, and another one. */
const inbound = (statPrefix: string): Resource => {
  const address = { address: { case: "socketAddress", value: { address: "0.0.0.0", portSpecifier: { case: "portValue", value: 15_006 } } } } as const;
  const filterChains = ["web|8080|mtls", "db|9090|mtls"].map((name) => ({ name, filterChainMatch: { destinationPort: Number(name.split("|")[1]) } }));
  return createResource(TYPE_URLS.listener, "in", toBinary(ListenerSchema, create(ListenerSchema, { name: "in", address, statPrefix, filterChains })));
};
const hostConfig = createResource(TYPE_URLS.hostConfig, "h1", toBinary(HostConfigSchema, create(HostConfigSchema, { meshDomain: "mesh.internal" })));

describe("the relay between control plane and Envoy", () => {
  let tasks: TaskGroup;
  let folder: string;
  let clock: ManualClock;
  let served: ResourceSet;
  let upstream: BoundGrpcServer;
  /** Before the control plane says anything on a stream. */
  let beforeAnswer: () => Promise<unknown>;
  /** Before Envoy is told anything. */
  let beforeServing: Promise<void>;
  let acknowledged = 0;
  let envoy: DeltaClient;
  /** All that an Envoy was told. */
  let told: string[];

  const serve = async (port = 0): Promise<void> => {
    const server = createDeltaServer({
      async onOpen() {
        await beforeAnswer();
        return { sets: [served], marksCompleteness: true, onAck: () => void (acknowledged += 1) };
      },
    });
    upstream = tasks.own(await serveGrpc({ listen: { host: "127.0.0.1", port }, handlers: { [DELTA_ADS_PATH]: server.handler }, logger: silentLogger }));
  };
  const startRelay = async (policy: Partial<GuardPolicy> = {}): Promise<XdsRelay> =>
    startXdsRelay({
      client: tasks.own(connectGrpc({ target: upstream.address })),
      hostId: "h1",
      socketPath: join(folder, "xds.sock"),
      policy: { inboundPort: 15_006, outboundRange: [15_100, 15_199], trustedRoots: [], registry: PROTO_REGISTRY, ...policy },
      secrets: [],
      lastKnownGood: await openLastKnownGood(folder, silentLogger),
      stored: await (await openLastKnownGood(folder, silentLogger)).load(),
      isEnvoyReady: () => true,
      beforeServing: () => beforeServing,
      onOwnChange: () => undefined,
      onState: () => undefined,
      onRejections: () => undefined,
      clock,
      logger: silentLogger,
    });
  /** An Envoy that refuses clusters whose content is `bad`. */
  const startEnvoy = (set = createResourceSet()): ResourceSet => {
    envoy = tasks.own(
      startDeltaClient({
        client: tasks.own(connectGrpc({ target: { path: join(folder, "xds.sock") } })),
        types: [TYPE_URLS.cluster, TYPE_URLS.listener],
        set,
        node: () => ({ id: "envoy" }),
        backoff: { baseMs: 10, maxMs: 50 },
        completenessTimeoutMs: 10,
        accept: ({ resources }) => {
          told.push(...resources.map(({ name, version }) => `${name}@${version}`));
          return resources.some(({ bytes }) => Buffer.from(bytes).includes("bad")) ? "it is bad" : undefined;
        },
      }),
    );
    return set;
  };
  const put = (...resources: readonly Resource[]): void => served.update((transaction) => resources.forEach((one) => transaction.upsert(one)));
  const onDisk = async (type = TYPE_URLS.cluster): Promise<string> => {
    const generation = await (await openLastKnownGood(folder, silentLogger)).load();
    return versionsOf(generation?.resources.filter(({ typeUrl }) => typeUrl === type) ?? []);
  };
  /** Waits while the time goes on. */
  const eventually = (condition: () => unknown, what: string): Promise<unknown> =>
    waitUntil(
      () => {
        clock.advance(500);
        return condition();
      },
      { what, intervalMs: 10 },
    );

  beforeEach(async () => {
    tasks = new TaskGroup();
    folder = mkdtempSync(join(tmpdir(), "ironmesh-relay-"));
    clock = createManualClock();
    served = createResourceSet();
    beforeAnswer = () => Promise.resolve();
    beforeServing = Promise.resolve();
    acknowledged = 0;
    told = [];
    await serve();
  });
  afterEach(async () => {
    await tasks.close();
    rmSync(folder, { recursive: true });
  });

  it("keeps what Envoy took beside what it refuses, each in the version that it took last", async () => {
    put(hostConfig, cluster("a", "1"), cluster("b", "1"));
    const relay = await startRelay();
    const envoy = startEnvoy();
    await eventually(async () => (await onDisk()) === versionsOf([cluster("a", "1"), cluster("b", "1")]), "the first configuration on disk");

    put(cluster("a", "bad"), cluster("b", "2"), cluster("c", "bad"), cluster("d", "1"));
    const taken = versionsOf([cluster("a", "1"), cluster("b", "2"), cluster("d", "1")]);
    await eventually(async () => (await onDisk()) === taken, "the good part of the second on disk");
    assert.deepEqual(relay.rejections().map(({ name }) => name).toSorted(), ["a", "c"]);
    assert.equal(relay.isEnvoyInSync(), true);

    // The agent restarts with the control plane away: Envoy keeps what it has.
    await relay.close();
    await upstream.close(0);
    const again = tasks.own(await startRelay());
    await eventually(() => again.envoy() !== undefined && again.isEnvoyInSync(), "envoy to come back");
    assert.equal(again.source(), "disk");
    assert.equal(versionsOf(envoy.list(TYPE_URLS.cluster)), taken);
  });

  describe("and an Envoy that starts while something is refused", () => {
    const [good, bad] = [cluster("a", "1"), cluster("a", "bad")];
    const begin = async (): Promise<XdsRelay> => {
      put(hostConfig, good, cluster("b", "1"));
      const relay = await startRelay();
      startEnvoy();
      await eventually(async () => (await onDisk()) === versionsOf([good, cluster("b", "1")]), "the first configuration on disk");
      put(bad, cluster("b", "2"));
      await eventually(() => relay.rejections().length > 0 && relay.isEnvoyInSync(), "the refusal");
      await eventually(async () => (await onDisk()) === versionsOf([good, cluster("b", "2")]), "what Envoy has on disk");
      await envoy.close();
      told = [];
      return relay;
    };
    const versionOfA = (set: ResourceSet): string | undefined => set.get(TYPE_URLS.cluster, "a")?.version;

    it("has it served as it was taken last, shows the refusal all the same, and takes what comes next", async () => {
      const relay = tasks.own(await begin());
      const set = startEnvoy();
      await eventually(() => set.size(TYPE_URLS.cluster) === 2 && relay.isEnvoyInSync(), "the new Envoy to have everything");
      assert.equal(versionsOf(set.list(TYPE_URLS.cluster)), versionsOf([good, cluster("b", "2")]));
      assert.ok(!told.includes(versionsOf([bad])), "what is known to be refused is not tried again");
      assert.deepEqual(relay.rejections(), [{ typeUrl: TYPE_URLS.cluster, name: "a", version: bad.version, message: "it is bad" }]);

      put(cluster("a", "3"));
      await eventually(() => versionOfA(set) === cluster("a", "3").version, "the mended one");
      await eventually(() => relay.rejections().length === 0, "the refusal to end");
      put(bad);
      await eventually(() => relay.rejections().length === 1 && relay.isEnvoyInSync(), "another refusal");
      served.update((transaction) => transaction.remove(TYPE_URLS.cluster, "a"));
      await eventually(() => set.size(TYPE_URLS.cluster) === 1, "what is deleted to be gone");
      assert.deepEqual(relay.rejections(), []);
    });

    it("has it so also when the agent was killed with it: a new agent tries the newest once more", async () => {
      const relay = await begin();
      await relay.close();
      const again = tasks.own(await startRelay());
      await eventually(() => again.upstream().phase === "synced", "the control plane's word");
      const set = startEnvoy();
      await eventually(() => versionOfA(set) === good.version && again.isEnvoyInSync(), "the new Envoy to have what was taken last");
      assert.ok(told.includes(versionsOf([bad])));
      assert.deepEqual(again.rejections().map(({ version, message }) => [version, message]), [[bad.version, "it is bad"]]);
    });
  });

  it("keeps what it had of a resource that the agent itself refuses, for a new Envoy and a new agent too", async () => {
    const outbound = (port: number): Resource => {
      const address = { address: { case: "socketAddress", value: { address: "127.0.0.1", portSpecifier: { case: "portValue", value: port } } } } as const;
      return createResource(TYPE_URLS.listener, "out", toBinary(ListenerSchema, create(ListenerSchema, { name: "out", address })));
    };
    put(hostConfig, outbound(15_101), inbound("1"));
    let relay = await startRelay();
    startEnvoy();
    await eventually(async () => (await onDisk(TYPE_URLS.listener)) === versionsOf([outbound(15_101), inbound("1")]), "the listeners on disk");
    put(outbound(22), inbound("2"));
    const kept = versionsOf([outbound(15_101), inbound("2")]);
    await eventually(async () => (await onDisk(TYPE_URLS.listener)) === kept, "the good one of both on disk");
    for (const withAgent of [false, true]) {
      await envoy.close();
      if (withAgent) {
        await relay.close();
        relay = await startRelay();
        await eventually(() => relay.upstream().phase === "synced", "the control plane's word");
      }
      const set = startEnvoy();
      await eventually(() => set.size(TYPE_URLS.listener) === 2 && relay.isEnvoyInSync(), "the new Envoy to be told");
      assert.equal(versionsOf(set.list(TYPE_URLS.listener)), kept);
    }
    await relay.close();
  });

  it("takes nothing from the disk that the agent's file has come to forbid", async () => {
    const address = { address: { case: "socketAddress", value: { address: "127.0.0.1", portSpecifier: { case: "portValue", value: 15_101 } } } } as const;
    const outbound = createResource(TYPE_URLS.listener, "out", toBinary(ListenerSchema, create(ListenerSchema, { name: "out", address })));
    put(hostConfig, outbound, inbound("1"));
    const relay = await startRelay();
    startEnvoy();
    await eventually(async () => (await onDisk(TYPE_URLS.listener)) === versionsOf([outbound, inbound("1")]), "the listeners on disk");
    await envoy.close();
    await relay.close();
    await upstream.close(0);
    const again = tasks.own(await startRelay({ outboundRange: [15_120, 15_199] }));
    const set = startEnvoy();
    await eventually(() => set.size(TYPE_URLS.listener) > 0 && again.isEnvoyInSync(), "the new Envoy to be told");
    assert.equal(versionsOf(set.list(TYPE_URLS.listener)), versionsOf([inbound("1")]));
  });

  it("never puts a configuration on disk that is not this host's", async () => {
    put(cluster("a", "1"));
    const relay = tasks.own(await startRelay());
    const envoy = startEnvoy();
    await eventually(() => envoy.size(TYPE_URLS.cluster) === 1 && relay.isEnvoyInSync(), "envoy to have what there is");
    clock.advance(60_000);
    await relay.close();
    assert.equal(await (await openLastKnownGood(folder, silentLogger)).load(), undefined);
  });

  it("goes on with what it has while the control plane does not know this host, or says nothing", async () => {
    put(hostConfig, cluster("a", "1"));
    const relay = tasks.own(await startRelay());
    const envoy = startEnvoy();
    await eventually(async () => (await onDisk()) === versionsOf([cluster("a", "1")]), "the configuration on disk");
    const { port } = upstream.address as { port: number };
    const silence = Promise.withResolvers<void>();
    beforeAnswer = () => silence.promise;
    await upstream.close(0);
    served = createResourceSet();
    await serve(port);
    await eventually(() => relay.upstream().phase === "syncing", "the stream");
    for (let look = 0; look < 100; look += 1) clock.advance(500);
    silence.resolve();
    beforeAnswer = () => Promise.resolve();
    // The first thing that the control plane says of this host comes after it said that it has nothing.
    const before = acknowledged;
    await eventually(() => acknowledged > before, "the control plane to have said that it has nothing");
    assert.deepEqual([relay.upstream().phase, relay.hostConfig()?.meshDomain, envoy.size(TYPE_URLS.cluster)], ["syncing", "mesh.internal", 1]);

    put(hostConfig, cluster("a", "2"));
    await eventually(() => relay.upstream().phase === "synced" && envoy.get(TYPE_URLS.cluster, "a")?.version === cluster("a", "2").version, "the control plane to be followed again");
  });

  describe("and who listens where workloads are served", () => {
    const chainsOf = (envoy: ResourceSet): string => {
      const resource = envoy.get(TYPE_URLS.listener, "in");
      if (resource === undefined) return "none";
      const { statPrefix, filterChains } = fromBinary(ListenerSchema, resource.bytes);
      return [statPrefix, ...filterChains.map(({ name }) => name)].join(" ");
    };

    it("withholds a place from Envoy, also in what comes later, and keeps the whole on disk", async () => {
      put(hostConfig, inbound("1"));
      const relay = tasks.own(await startRelay());
      const envoy = startEnvoy();
      await eventually(() => chainsOf(envoy) === "1 web|8080|mtls db|9090|mtls", "the whole listener");
      assert.deepEqual(relay.inboundPlaces(), [PLACE, { ...PLACE, workload: "db", port: 9_090 }]);

      relay.withhold([PLACE]);
      await eventually(() => chainsOf(envoy) === "1 db|9090|mtls", "a place to be withheld");
      const seen: string[] = [];
      envoy.watch(() => void seen.push(chainsOf(envoy)));
      put(inbound("2"));
      await eventually(async () => (await onDisk(TYPE_URLS.listener)) === versionsOf([inbound("2")]), "the second listener on disk");
      assert.deepEqual(seen, ["2 db|9090|mtls"]);
      assert.deepEqual([relay.isEnvoyInSync(), relay.rejections()], [true, []]);

      relay.withhold([]);
      await eventually(() => chainsOf(envoy) === "2 web|8080|mtls db|9090|mtls", "the whole listener again");
    });

    it("takes what Envoy refuses for a refusal of what the control plane said", async () => {
      put(hostConfig, inbound("1"));
      const relay = tasks.own(await startRelay());
      const envoy = startEnvoy();
      relay.withhold([PLACE]);
      await eventually(async () => (await onDisk(TYPE_URLS.listener)) === versionsOf([inbound("1")]), "the first listener on disk");
      put(inbound("bad"), cluster("a", "1"));
      await eventually(async () => (await onDisk()) === versionsOf([cluster("a", "1")]), "the cluster on disk");
      assert.equal(await onDisk(TYPE_URLS.listener), versionsOf([inbound("1")]));
      assert.deepEqual(relay.rejections().map(({ name, version }) => `${name}@${version}`), [versionsOf([inbound("bad")])]);
      assert.equal(chainsOf(envoy), "1 db|9090|mtls");
    });

    it("tells Envoy nothing before that is known", async () => {
      put(hostConfig, inbound("1"));
      const known = Promise.withResolvers<void>();
      beforeServing = known.promise;
      const relay = tasks.own(await startRelay());
      await eventually(() => relay.upstream().phase === "synced", "the control plane's word");
      const envoy = startEnvoy();
      const seen: string[] = [];
      envoy.watch(() => void seen.push(chainsOf(envoy)));
      relay.withhold([PLACE]);
      known.resolve();
      await eventually(() => seen.length > 0, "Envoy to be told");
      assert.deepEqual(seen, ["1 db|9090|mtls"]);
    });
  });

  it("leaves Envoy with what it has when the host says farewell", async () => {
    put(hostConfig, cluster("a", "1"));
    const relay = tasks.own(await startRelay());
    const envoy = startEnvoy();
    await eventually(() => envoy.size(TYPE_URLS.cluster) === 1 && relay.isEnvoyInSync(), "envoy to have what there is");
    await relay.unfollow();
    served.update((transaction) => transaction.replaceAll(TYPE_URLS.cluster, []));
    assert.equal(relay.upstream().phase, "closed");
    clock.advance(60_000);
    assert.deepEqual([relay.hostConfig()?.meshDomain, relay.isEnvoyInSync(), envoy.size(TYPE_URLS.cluster)], ["mesh.internal", true, 1]);
  });
});

function versionsOf(resources: Iterable<Resource>): string {
  return [...resources].map(({ name, version }) => `${name}@${version}`).toSorted().join(" ");
}
