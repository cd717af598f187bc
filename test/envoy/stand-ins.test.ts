import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, type DescMessage, fromJson, type JsonValue, toBinary } from "@bufbuild/protobuf";
import { openLastKnownGood } from "../../agent/last-known-good.ts";
import { startXdsRelay, type XdsRelay } from "../../agent/xds-relay.ts";
import { systemClock } from "../../base/clock.ts";
import { connectGrpc } from "../../base/grpc/client.ts";
import { serveGrpc } from "../../base/grpc/server.ts";
import { silentLogger } from "../../base/logger.ts";
import { TaskGroup } from "../../base/task-group.ts";
import { ClusterSchema } from "../../proto/gen/envoy/config/cluster/v3/cluster_pb.js";
import { ClusterLoadAssignmentSchema } from "../../proto/gen/envoy/config/endpoint/v3/endpoint_pb.js";
import { ListenerSchema } from "../../proto/gen/envoy/config/listener/v3/listener_pb.js";
import { VirtualHostSchema } from "../../proto/gen/envoy/config/route/v3/route_components_pb.js";
import { RouteConfigurationSchema } from "../../proto/gen/envoy/config/route/v3/route_pb.js";
import { SecretSchema } from "../../proto/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js";
import { HostConfigSchema } from "../../proto/gen/ironmesh/agent/v1/agent_pb.js";
import { PROTO_REGISTRY } from "../../proto/registry.ts";
import { createDeltaServer, DELTA_ADS_PATH } from "../../xds/delta-server.ts";
import { createResource, type Resource } from "../../xds/resource.ts";
import { createResourceSet, type ResourceSet } from "../../xds/resource-set.ts";
import { TYPE_URLS } from "../../xds/type-urls.ts";
import { askSocket, startAdsEnvoy } from "../support/ads-envoy.ts";
import { createTestAuthority } from "../support/test-authority.ts";
import { waitUntil } from "../support/wait-until.ts";

const ADS = { ads: {}, resourceApiVersion: "V3" };
const PORT = 15_100;
const HTTP = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
const TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
/** Sound RE2, and more of it than an Envoy takes. */
const TOO_LARGE = String.raw`/\pL{1000}`.repeat(6);

const make = (typeUrl: string, schema: DescMessage, name: string, json: JsonValue): Resource => createResource(typeUrl, name, toBinary(schema, fromJson(schema, json, { registry: PROTO_REGISTRY })));
const listener = (statPrefix: string): Resource => {
  const http = { "@type": HTTP, statPrefix, rds: { routeConfigName: "table", configSource: ADS }, httpFilters: [{ name: "router", typedConfig: { "@type": ROUTER } }] };
  return make(TYPE_URLS.listener, ListenerSchema, "out", { name: "out", address: { socketAddress: { address: "127.0.0.1", portValue: PORT } }, filterChains: [{ filters: [{ name: "http", typedConfig: http }] }] });
};
const cluster = (connectTimeout: string): Resource => make(TYPE_URLS.cluster, ClusterSchema, "app", { name: "app", type: "EDS", edsClusterConfig: { edsConfig: ADS }, connectTimeout });
const endpoints = (port: number, priority: number): Resource =>
  make(TYPE_URLS.clusterLoadAssignment, ClusterLoadAssignmentSchema, "app", {
    clusterName: "app",
    endpoints: [
      { lbEndpoints: [{ endpoint: { address: { socketAddress: { address: "127.0.0.1", portValue: port } } } }] },
      { priority, lbEndpoints: [] },
    ],
  });
const table = (bad: boolean, headers: string): Resource =>
  make(TYPE_URLS.routeConfiguration, RouteConfigurationSchema, "table", {
    name: "table",
    vhds: { configSource: ADS },
    internalOnlyHeaders: [headers],
    ...(bad ? { virtualHosts: [{ name: "other", domains: ["other"], routes: [{ match: { safeRegex: { regex: TOO_LARGE } }, directResponse: { status: 204 } }] }] } : {}),
  });
const virtualHost = (revision: string, regex: string): Resource =>
  make(TYPE_URLS.virtualHost, VirtualHostSchema, "table/all", {
    name: "table/all",
    domains: ["*"],
    responseHeadersToAdd: [{ header: { key: "x-revision", value: revision } }],
    routes: [{ match: { safeRegex: { regex } }, route: { cluster: "app" } }],
  });
/** A cluster that takes the roots from a secret. */
const caller = make(TYPE_URLS.cluster, ClusterSchema, "caller", {
  name: "caller",
  type: "STATIC",
  connectTimeout: "1s",
  transportSocket: { name: "tls", typedConfig: { "@type": TLS, commonTlsContext: { validationContextSdsSecretConfig: { name: "roots", sdsConfig: ADS } } } },
});
const roots = (pem: string): Resource => make(TYPE_URLS.secret, SecretSchema, "roots", { name: "roots", validationContext: { trustedCa: { inlineString: pem } } });

describe("an Envoy that starts while a resource is refused (real Envoy)", function () {
  this.timeout(120_000);
  let tasks: TaskGroup;
  let folder: string;
  let set: ResourceSet;
  let relay: XdsRelay;
  let target: AddressInfo;
  let appPort = 0;
  let endEnvoy: (() => Promise<void>) | undefined;

  const put = (...all: readonly Resource[]): void => set.update((transaction) => all.forEach((one) => transaction.upsert(one)));
  const admin = (path: string): Promise<string> => askSocket(join(folder, "admin"), path).then(({ body }) => body);
  const isReady = async (): Promise<boolean> => (await admin("/ready").catch(() => "")).startsWith("LIVE");
  const startRelay = async (): Promise<void> => {
    let ready = false;
    tasks.own({ close: () => relay.close() });
    const poll = setInterval(() => void isReady().then((now) => (ready = now)), 100);
    tasks.defer(() => clearInterval(poll));
    const lastKnownGood = await openLastKnownGood(folder, silentLogger);
    relay = await startXdsRelay({
      client: tasks.own(connectGrpc({ target: { host: target.address, port: target.port } })),
      hostId: "h1",
      socketPath: join(folder, "xds.sock"),
      policy: { inboundPort: 15_006, outboundRange: [15_100, 15_199], trustedRoots: [], registry: PROTO_REGISTRY },
      secrets: [],
      lastKnownGood,
      stored: await lastKnownGood.load(),
      isEnvoyReady: () => ready,
      beforeServing: () => Promise.resolve(),
      onOwnChange: () => undefined,
      onState: () => undefined,
      onRejections: () => undefined,
      clock: systemClock,
      logger: silentLogger,
    });
  };
  const startEnvoy = async (): Promise<void> => {
    endEnvoy = startAdsEnvoy({ folder, nodeId: "h1", apiType: "DELTA_GRPC", server: { pipe: { path: join(folder, "xds.sock") } } });
    await waitUntil(isReady, { what: "envoy to be ready" });
  };
  const isServed = async (): Promise<boolean> => (await (await fetch(`http://127.0.0.1:${PORT}/`)).text()) === "hello";

  before(async () => {
    tasks = new TaskGroup();
    folder = mkdtempSync(join(tmpdir(), "ironmesh-stand-ins-"));
    tasks.defer(() => rmSync(folder, { recursive: true, force: true }));
    const application = createServer((_request, response) => response.end("hello"));
    await new Promise<void>((resolve) => application.listen(0, "127.0.0.1", resolve));
    tasks.defer(() => {
      application.closeAllConnections();
      application.close();
    });
    appPort = (application.address() as AddressInfo).port;
    set = createResourceSet();
    const server = createDeltaServer({ onOpen: () => ({ sets: [set], marksCompleteness: true }) });
    const bound = tasks.own(await serveGrpc({ listen: { host: "127.0.0.1", port: 0 }, handlers: { [DELTA_ADS_PATH]: server.handler }, logger: silentLogger }));
    target = { ...(bound.address as { host: string; port: number }), address: "127.0.0.1", family: "IPv4" };
    const hostConfig = createResource(TYPE_URLS.hostConfig, "h1", toBinary(HostConfigSchema, create(HostConfigSchema, { meshDomain: "mesh.internal" })));
    put(hostConfig, listener("one"), cluster("1s"), endpoints(appPort, 1), table(false, "x-one"), virtualHost("one", "/.*"), caller, roots(createTestAuthority().root));
    await startRelay();
    tasks.defer(() => endEnvoy?.());
    await startEnvoy();
    await waitUntil(isServed, { what: "the first configuration to serve" });
  });
  after(() => tasks.close());

  /** By type: what Envoy refuses, and what it takes then. */
  const cases: Readonly<Record<string, () => readonly [bad: Resource, mended: Resource]>> = {
    listener: () => [listener(""), listener("two")],
    cluster: () => [cluster("0s"), cluster("2s")],
    "load assignment": () => [endpoints(appPort, 200), endpoints(appPort, 2)],
    "route configuration": () => [table(true, "x-one"), table(false, "x-two")],
    "virtual host": () => [virtualHost("bad", TOO_LARGE), virtualHost("two", "/.*")],
    secret: () => [roots("no certificate"), roots(createTestAuthority().root)],
  };
  for (const [what, resourcesOf] of Object.entries(cases)) {
    it(`has the ${what} that was taken last, and takes the next that is good`, async () => {
      const [bad, mended] = resourcesOf();
      const good = set.get(bad.typeUrl, bad.name);
      assert.ok(good !== undefined);
      put(bad);
      await waitUntil(() => relay.rejections().some(({ name, version }) => name === bad.name && version === bad.version), { what: "the refusal" });
      const words = relay.rejections().map(({ message }) => message);
      await waitUntil(() => relay.isEnvoyInSync(), { what: "envoy to have what it took before" });
      assert.ok(await isServed());

      await endEnvoy?.();
      await startEnvoy();
      await waitUntil(isServed, { what: "the new Envoy to serve" });
      // No request needs it.
      if (what === "secret") await waitUntil(async () => (await admin("/config_dump?resource=dynamic_active_secrets")).includes(good.version), { what: "the new Envoy to have the secret" });
      assert.deepEqual(relay.rejections().map(({ message }) => message), words);

      put(mended);
      await waitUntil(() => relay.rejections().length === 0 && relay.isEnvoyInSync(), { what: "the mended one to be taken" });
      assert.ok(await isServed());
    });
  }

  it("keeps what is good of a response in which a hundred others are refused", async () => {
    const make200 = (connectTimeout: (index: number) => string): Resource[] =>
      Array.from({ length: 200 }, (_, index) => make(TYPE_URLS.cluster, ClusterSchema, `many-${index}`, { name: `many-${index}`, type: "STATIC", connectTimeout: connectTimeout(index) }));
    put(...make200(() => "1s"));
    await waitUntil(() => relay.isEnvoyInSync(), { what: "the first ones" });
    put(...make200((index) => (index % 2 === 0 ? "0s" : "3s")));
    await waitUntil(() => relay.rejections().length >= 100 && relay.isEnvoyInSync(), { what: "the refusals" });
    const { configs } = JSON.parse(await admin("/config_dump?resource=dynamic_active_clusters")) as { configs: { cluster: { name: string; connect_timeout: string } }[] };
    const timeouts = configs.flatMap(({ cluster: { name, connect_timeout } }) => (name.startsWith("many-") ? [connect_timeout] : []));
    assert.deepEqual([relay.rejections().length, ["1s", "3s"].map((timeout) => timeouts.filter((one) => one === timeout).length)], [100, [100, 100]]);
  });
});
