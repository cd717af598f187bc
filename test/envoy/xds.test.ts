import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type DescMessage, fromJson, type JsonValue, toBinary } from "@bufbuild/protobuf";
import { type BoundGrpcServer, serveGrpc } from "../../base/grpc/server.ts";
import { silentLogger } from "../../base/logger.ts";
import { TaskGroup } from "../../base/task-group.ts";
import type { EndpointIr } from "../../discovery/ir/cluster.ts";
import { translateCluster } from "../../discovery/translate/cluster.ts";
import { translateEndpoints } from "../../discovery/translate/endpoints.ts";
import { encodeResource, type TranslatedResource } from "../../discovery/translate/resource.ts";
import { ClusterSchema } from "../../proto/gen/envoy/config/cluster/v3/cluster_pb.js";
import { ClusterLoadAssignmentSchema } from "../../proto/gen/envoy/config/endpoint/v3/endpoint_pb.js";
import { ListenerSchema } from "../../proto/gen/envoy/config/listener/v3/listener_pb.js";
import { VirtualHostSchema } from "../../proto/gen/envoy/config/route/v3/route_components_pb.js";
import { RouteConfigurationSchema } from "../../proto/gen/envoy/config/route/v3/route_pb.js";
import { SecretSchema } from "../../proto/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js";
import { PROTO_REGISTRY } from "../../proto/registry.ts";
import { createDeltaServer, DELTA_ADS_PATH, type DeltaServer } from "../../xds/delta-server.ts";
import { createResource, type Resource } from "../../xds/resource.ts";
import { createResourceSet, type ResourceSet } from "../../xds/resource-set.ts";
import type { Nack, SubscriptionStatus } from "../../xds/subscription.ts";
import { TYPE_URLS } from "../../xds/type-urls.ts";
import { askSocket as ask, startAdsEnvoy } from "../support/ads-envoy.ts";
import { createTestAuthority } from "../support/test-authority.ts";
import { waitUntil } from "../support/wait-until.ts";

const encode = (schema: DescMessage, json: JsonValue): Uint8Array => toBinary(schema, fromJson(schema, json, { registry: PROTO_REGISTRY }));
const ADS = { ads: {}, resourceApiVersion: "V3" };

const cluster = (name: string, extra: Record<string, JsonValue> = {}): Resource =>
  createResource(TYPE_URLS.cluster, name, encode(ClusterSchema, { name, type: "EDS", edsClusterConfig: { edsConfig: ADS }, connectTimeout: "1s", ...extra }));

const assignment = (clusterName: string, port: number): Resource =>
  createResource(
    TYPE_URLS.clusterLoadAssignment,
    clusterName,
    encode(ClusterLoadAssignmentSchema, {
      clusterName,
      endpoints: [{ lbEndpoints: [{ endpoint: { address: { socketAddress: { address: "127.0.0.1", portValue: port } } } }] }],
    }),
  );

const listener = (name: string, socket: string, routeName: string, tls = false, mode = 0o600): Resource =>
  createResource(
    TYPE_URLS.listener,
    name,
    encode(ListenerSchema, {
      name,
      address: { pipe: { path: socket, mode } },
      filterChains: [
        {
          ...(tls ? { transportSocket: tlsSocket() } : {}),
          filters: [
            {
              name: "hcm",
              typedConfig: {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                statPrefix: name,
                rds: { routeConfigName: routeName, configSource: ADS },
                httpFilters: [{ name: "router", typedConfig: { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" } }],
              },
            },
          ],
        },
      ],
    }),
  );

const tlsSocket = (): JsonValue => ({
  name: "tls",
  typedConfig: {
    "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
    commonTlsContext: { tlsCertificateSdsSecretConfigs: [{ name: "identity", sdsConfig: ADS }] },
  },
});

const table = (name: string): Resource =>
  createResource(TYPE_URLS.routeConfiguration, name, encode(RouteConfigurationSchema, { name, vhds: { configSource: ADS } }));

const virtualHost = (name: string, domain: string, target: string): Resource =>
  createResource(
    TYPE_URLS.virtualHost,
    name,
    encode(VirtualHostSchema, { name, domains: [domain], routes: [{ match: { prefix: "/" }, route: { cluster: target } }] }),
  );

const secret = (name: string): Resource => {
  const { certificateChain, privateKey } = createTestAuthority().mint("spiffe://test/envoy");
  return createResource(
    TYPE_URLS.secret,
    name,
    encode(SecretSchema, {
      name,
      tlsCertificate: { certificateChain: { inlineString: certificateChain }, privateKey: { inlineString: privateKey.revealText() } },
    }),
  );
};

describe("delta ADS with a real Envoy", function () {
  this.timeout(120_000);
  let group: TaskGroup;
  let folder: string;
  let set: ResourceSet;
  let server: DeltaServer;
  let bound: BoundGrpcServer;
  let nacks: Nack[];
  let acks: number;
  let port: number;

  beforeEach(async () => {
    group = new TaskGroup();
    folder = mkdtempSync(join(tmpdir(), "xds-"));
    group.defer(() => rmSync(folder, { recursive: true, force: true }));
    set = createResourceSet();
    nacks = [];
    acks = 0;
    const application = createServer((_request, response) => response.end("hello"));
    await new Promise<void>((resolve) => application.listen(0, "127.0.0.1", resolve));
    group.defer(() => application.closeAllConnections());
    group.defer(() => void application.close());
    const address = application.address();
    port = address !== null && typeof address === "object" ? address.port : 0;
    await serve();
  });
  afterEach(() => group.close());

  const serve = async (): Promise<void> => {
    server = createDeltaServer({
      onOpen: () => ({ sets: [set], onNack: (nack) => void nacks.push(nack), onAck: () => void (acks += 1) }),
    });
    bound = group.own(await serveGrpc({ listen: { path: join(folder, "ads") }, handlers: { [DELTA_ADS_PATH]: server.handler }, logger: silentLogger }));
  };
  const startEnvoy = (): void => {
    group.defer(startAdsEnvoy({ folder, nodeId: "test", apiType: "DELTA_GRPC", server: { pipe: { path: join(folder, "ads") } } }));
  };
  const put = (...resources: Resource[]): void => set.update((transaction) => resources.forEach((one) => transaction.upsert(one)));
  const get = (host: string): Promise<number> => ask(join(folder, "in"), "/", host).then(({ status }) => status);
  const answers = (host: string, status: number): Promise<unknown> =>
    waitUntil(async () => (await get(host)) === status, { what: `${status} from ${host}`, timeoutMs: 30_000 });
  const stat = async (name: string): Promise<number> => {
    const { body } = await ask(join(folder, "admin"), `/stats?filter=^${name.replaceAll(".", "\\.")}$`);
    return Number(/: (\d+)/u.exec(body)?.[1] ?? Number.NaN);
  };
  const typeStatus = (typeUrl: string): SubscriptionStatus | undefined => server.streams()[0]?.types.find((status) => status.typeUrl === typeUrl);
  const settled = (): Promise<unknown> =>
    waitUntil(() => server.streams()[0]?.types.every(({ state }) => state === "SYNCED" || state === "NOT SENT") === true, { what: "Envoy to have acknowledged all", timeoutMs: 30_000 });
  const fill = (): void =>
    put(cluster("a"), assignment("a", port), listener("in", join(folder, "in"), "r"), table("r"), virtualHost("r/a", "a.test", "a"));

  it("tries unhealthy endpoints of ours when there is no other, and only then", async () => {
    const putTranslated = (one: TranslatedResource): void => {
      const { typeUrl, name, bytes } = encodeResource(one);
      put(createResource(typeUrl, name, bytes));
    };
    const endpoint = (of: Pick<EndpointIr, "port" | "health">): EndpointIr => ({
      ...of,
      address: "127.0.0.1",
      weight: 1,
      locality: { region: "", zone: "", subZone: "" },
      meshed: false,
      workload: { name: "w", namespace: "default", version: "" },
    });
    const nobody = createServer().listen(0, "127.0.0.1");
    await once(nobody, "listening");
    const { port: deadPort } = nobody.address() as AddressInfo;
    await new Promise((resolve) => nobody.close(resolve));
    fill();
    putTranslated(
      translateCluster({
        name: "a",
        discovery: "eds",
        dnsEndpoints: [],
        protocol: "http1",
        tls: { mode: "plain" },
        connectTimeoutMs: 1_000,
        loadBalancer: { kind: "least-request" },
        connectionPool: {},
        service: { hostname: "a.test", namespace: "default", name: "a" },
      }),
    );
    putTranslated(translateEndpoints({ cluster: "a", endpoints: [endpoint({ port, health: "unhealthy" })] }));
    startEnvoy();
    await answers("a.test", 200);
    putTranslated(translateEndpoints({ cluster: "a", endpoints: [endpoint({ port: deadPort, health: "unhealthy" }), endpoint({ port, health: "healthy" })] }));
    await settled();
    const codes = new Set<number>();
    for (let count = 0; count < 30; count += 1) codes.add(await get("a.test"));
    assert.deepEqual([...codes], [200]);
    assert.deepEqual(nacks, []);
  });

  it("brings CDS, EDS, LDS, RDS, VHDS and SDS up, follows changes and removals, and nothing is refused", async () => {
    fill();
    put(secret("identity"), listener("tls", join(folder, "tls"), "r", true));
    startEnvoy();
    await answers("a.test", 200);
    await answers("b.test", 404);
    await settled();
    assert.equal(typeStatus(TYPE_URLS.secret)?.state, "SYNCED");
    assert.equal(await stat("listener_manager.total_listeners_warming"), 0);

    put(virtualHost("r/b", "b.test", "a"));
    await answers("b.test", 200);
    // The domain moves to another virtual host in one step.
    set.update((transaction) => {
      transaction.remove(TYPE_URLS.virtualHost, "r/b");
      transaction.upsert(virtualHost("r/c", "b.test", "a"));
    });
    await settled();
    assert.equal(await get("b.test"), 200);
    set.update((transaction) => transaction.remove(TYPE_URLS.virtualHost, "r/c"));
    await answers("b.test", 404);

    // A new cluster with its routes, then the old one away: routes never point at nothing.
    put(cluster("n"), assignment("n", port), virtualHost("r/a", "a.test", "n"));
    set.update((transaction) => transaction.remove(TYPE_URLS.cluster, "a"));
    const codes = new Set<number>();
    const isGone = async (): Promise<boolean> => {
      codes.add(await get("a.test"));
      return (await stat("cluster_manager.cluster_removed")) === 1;
    };
    await waitUntil(isGone, { what: "the old cluster to be removed", intervalMs: 1 });
    assert.deepEqual([...codes], [200]);
    assert.deepEqual(nacks, []);
  });

  it("has a changed cluster warm at once, not after Envoy's 15 s", async () => {
    fill();
    startEnvoy();
    await answers("a.test", 200);
    await settled();
    const started = performance.now();
    for (let round = 1; round <= 5; round += 1) {
      put(cluster("a", { connectTimeout: `${round + 1}s` }));
      await waitUntil(async () => acks > 0 && (await stat("cluster_manager.warming_clusters")) === 0 && typeStatus(TYPE_URLS.cluster)?.state === "SYNCED", {
        what: "the cluster to be warm",
        intervalMs: 5,
      });
    }
    assert.ok(performance.now() - started < 14_000, "one wait of Envoy's own is 15 s");
    assert.equal(await get("a.test"), 200);
  });

  it("shows a refusal in Envoy's words, names the culprit, lets the others pass, and recovers", async () => {
    fill();
    startEnvoy();
    await answers("a.test", 200);
    // Two hosts with one domain: Envoy drops the whole response.
    put(virtualHost("r/b", "b.test", "a"), virtualHost("r/bad", "a.test", "a"), virtualHost("r/d", "d.test", "a"));
    await answers("b.test", 200);
    await answers("d.test", 200);
    await waitUntil(() => nacks.some(({ isFinal }) => isFinal), { what: "the culprit to stand alone" });
    const last = nacks.at(-1);
    assert.deepEqual(last?.resources.map(({ name }) => name), ["r/bad"]);
    assert.match(last?.message ?? "", /a\.test/u);
    assert.equal(typeStatus(TYPE_URLS.virtualHost)?.state, "REJECTED");
    assert.equal(await get("a.test"), 200);
    put(virtualHost("r/bad", "bad.test", "a"));
    await answers("bad.test", 200);
    await settled();
  });

  it("makes a listener ready whose table has no virtual host, also a second one", async () => {
    put(listener("in", join(folder, "in"), "r"), table("r"), listener("second", join(folder, "second"), "r2"), table("r2"));
    startEnvoy();
    await answers("a.test", 404);
    const second = (): Promise<number> => ask(join(folder, "second"), "/", "x.test").then(({ status }) => status);
    await waitUntil(async () => (await second()) === 404, { what: "the second listener", timeoutMs: 10_000 });
    put(cluster("a"), assignment("a", port), virtualHost("r2/x", "x.test", "a"));
    await waitUntil(async () => (await second()) === 200, { what: "the second table's host" });
  });

  it("sends nothing to an Envoy that comes back to a restarted server, except what has changed", async () => {
    fill();
    put(cluster("gone"), assignment("gone", port), virtualHost("r/gone", "gone.test", "gone"));
    startEnvoy();
    await answers("gone.test", 200);
    await settled();
    await bound.close();
    assert.equal(await get("a.test"), 200, "traffic needs no server");
    const names = ["cluster_manager.cluster_modified", "cluster_manager.cluster_added", "listener_manager.listener_modified"];
    const before = await Promise.all(names.map(stat));
    await serve();
    await waitUntil(() => server.streams()[0]?.types.length === 5, { what: "all types to be subscribed again" });
    await settled();
    assert.deepEqual(server.streams()[0]?.types.map(({ state }) => state), Array.from({ length: 5 }, () => "NOT SENT"));
    await bound.close();
    set.update((transaction) => {
      for (const type of [TYPE_URLS.cluster, TYPE_URLS.clusterLoadAssignment]) transaction.remove(type, "gone");
      transaction.remove(TYPE_URLS.virtualHost, "r/gone");
    });
    await serve();
    await answers("gone.test", 404);
    await waitUntil(async () => (await stat("cluster_manager.cluster_removed")) === 1, { what: "the removed cluster" });
    assert.deepEqual(await Promise.all(names.map(stat)), before);
    assert.deepEqual(nacks, []);
  });
});
