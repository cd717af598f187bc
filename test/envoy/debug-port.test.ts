import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AnyResource } from "../../api/resource.ts";
import { type Logger, silentLogger } from "../../base/logger.ts";
import { TaskGroup } from "../../base/task-group.ts";
import { openDebugPort } from "../../cli/control-plane/debug-port.ts";
import { startPush } from "../../discovery/push/push.ts";
import { askSocket, startAdsEnvoy } from "../support/ads-envoy.ts";
import { BATCH_MS, type Mesh, startMesh } from "../support/push-mesh.ts";
import { resource } from "../support/resource.ts";
import { createTestAuthority } from "../support/test-authority.ts";
import { waitUntil } from "../support/wait-until.ts";

const NODE_ID = "sidecar~10.0.0.3~web.default~default.svc.mesh.internal";

/** A service of each protocol, with rules and policies of each kind. */
const MESH: readonly AnyResource[] = [
  ...["web", "db"].map((app) =>
    resource("WorkloadGroup", app, {
      metadata: { labels: { app, version: "v1" } },
      template: { serviceAccount: app, ports: { http: 8_080, grpc: 9_090, tcp: 5_432 } },
    }),
  ),
  resource("Service", "web", { selector: { app: "web" }, ports: [{ name: "http", port: 80, targetPort: 8_080 }, { name: "grpc", port: 90, targetPort: 9_090 }] }),
  resource("Service", "db", { selector: { app: "db" }, ports: [{ name: "tcp", port: 5_432 }, { name: "http", port: 80, targetPort: 8_080 }] }),
  resource("ServiceEntry", "api", {
    hosts: ["api.example.com"],
    location: "MESH_EXTERNAL",
    resolution: "DNS",
    ports: [{ number: 80, name: "http", protocol: "HTTP" }, { number: 443, name: "tls", protocol: "TLS" }],
    endpoints: [{ address: "api.example.com" }],
  }),
  resource("VirtualService", "web", {
    hosts: ["web"],
    http: [{ route: [{ destination: { host: "web", subset: "v1" } }], timeout: "5s", retries: { attempts: 2 }, fault: { abort: { httpStatus: 503, percentage: { value: 1 } } } }],
  }),
  resource("DestinationRule", "web", { host: "web", subsets: [{ name: "v1", labels: { version: "v1" } }] }),
  resource("PeerAuthentication", "web", { selector: { matchLabels: { app: "web" } }, mtls: { mode: "STRICT" } }),
  resource("AuthorizationPolicy", "web", { selector: { matchLabels: { app: "web" } }, action: "ALLOW", rules: [{ from: [{ source: { principals: ["mesh.internal/ns/default/sa/db"] } }] }] }),
];

interface Named {
  readonly name: string;
}

/** An entry of any list of Envoy's dump, as far as it is looked at. */
interface DumpEntry extends Named {
  readonly cluster: Named;
  readonly endpoint_config: { readonly cluster_name: string };
  readonly route_config: Named & { readonly virtual_hosts: readonly Named[] };
  readonly active_state?: { readonly listener: Named };
  readonly warming_state?: { readonly listener: Named };
  readonly error_state?: unknown;
}

interface ConfigDump {
  readonly configs: readonly Readonly<Record<string, readonly DumpEntry[]>>[];
}

describe("the debug listener with a real Envoy", function () {
  this.timeout(120_000);
  let group: TaskGroup;
  let folder: string;
  let mesh: Mesh;
  let complaints: unknown[];
  let port: number;

  beforeEach(async () => {
    group = new TaskGroup();
    folder = mkdtempSync(join(tmpdir(), "debug-port-"));
    group.defer(() => rmSync(folder, { recursive: true, force: true }));
    mesh = await startMesh();
    group.defer(() => mesh.close());
    for (const one of MESH) mesh.take({ do: "write", resource: one });
    mesh.take({ do: "trust", root: createTestAuthority().root });
    mesh.take({ do: "report", host: "h1", groups: ["default/web", "default/db"], isHealthy: true });
    await mesh.settled();
    complaints = [];
    const logger: Logger = { ...silentLogger, warn: (facts: unknown) => void complaints.push(facts) };
    const push = group.own(startPush(mesh.inputs));
    const server = group.own(await openDebugPort({ listen: { host: "127.0.0.1", port: 0 }, hosts: mesh.hosts, push, logger }));
    assert.ok("port" in server.address);
    port = server.address.port;
  });
  afterEach(() => group.close());

  const admin = (path: string): Promise<string> => askSocket(join(folder, "admin"), path).then(({ body }) => body);
  /** Something of each entry of one of the dump's lists. */
  const dumped = async (list: string, read: (entry: DumpEntry) => string): Promise<string[]> => {
    const { configs } = JSON.parse(await admin("/config_dump?include_eds")) as ConfigDump;
    return configs.flatMap((config) => config[list] ?? []).map(read).sort();
  };
  const clusters = (): Promise<string[]> => dumped("dynamic_active_clusters", ({ cluster }) => cluster.name);
  const tables = (): Promise<string[]> =>
    dumped("dynamic_route_configs", ({ route_config: { name, virtual_hosts } }) => `${name}: ${virtual_hosts.map((host) => host.name).join(" ")}`);
  /** Also `warming` is taken: a listener waits for certificates that never come, in vain, for as long as Envoy has patience. */
  const listeners = (): Promise<string[]> =>
    dumped("dynamic_listeners", ({ name, error_state, active_state, warming_state }) => `${name}: ${error_state === undefined ? (active_state ?? warming_state)?.listener.name : JSON.stringify(error_state)}`);
  const rejections = async (): Promise<string[]> => (await admin("/stats?filter=update_rejected")).split("\n").filter((line) => line !== "" && !line.endsWith(": 0"));
  const change = (...resources: AnyResource[]): void => {
    for (const one of resources) mesh.take({ do: "write", resource: one });
  };
  const pushed = async (): Promise<void> => {
    await mesh.settled();
    mesh.clock.advance(BATCH_MS);
  };

  for (const apiType of ["GRPC", "DELTA_GRPC"] as const) {
    it(`gives all that its workload sees to an Envoy that speaks ${apiType}, follows, and nothing is refused`, async () => {
      group.defer(startAdsEnvoy({ folder, nodeId: NODE_ID, apiType, server: { socketAddress: { address: "127.0.0.1", portValue: port } } }));
      await waitUntil(async () => (await tables()).length === 5, { what: "all route tables" });
      assert.deepEqual(await tables(), [
        "80: unknown-host 80/db.default.svc.mesh.internal:80 80/web.default.svc.mesh.internal:80",
        "90: unknown-host 90/web.default.svc.mesh.internal:90",
        "inbound|web|8080: application",
        "inbound|web|9090: application",
        "outside|80: unknown-host outside|80/api.example.com:80",
      ]);
      assert.deepEqual(await listeners(), ["outbound|web: outbound|web", "virtualInbound: virtualInbound"]);
      const atFirst = [
        "BlackHoleCluster",
        "PassthroughCluster",
        "inbound|5432||",
        "inbound|8080||",
        "inbound|9090||",
        "outbound|443||api.example.com",
        "outbound|5432||db.default.svc.mesh.internal",
        "outbound|80|v1|web.default.svc.mesh.internal",
        "outbound|80||api.example.com",
        "outbound|80||db.default.svc.mesh.internal",
        "outbound|80||web.default.svc.mesh.internal",
        "outbound|90|v1|web.default.svc.mesh.internal",
        "outbound|90||web.default.svc.mesh.internal",
      ];
      assert.deepEqual(await clusters(), atFirst);
      const [endpoint] = await dumped("dynamic_endpoint_configs", ({ endpoint_config }) => (endpoint_config.cluster_name === "outbound|80||web.default.svc.mesh.internal" ? JSON.stringify(endpoint_config) : "~"));
      assert.match(endpoint ?? "", /"address":"10\.0\.0\.3","port_value":8080/u);

      const cache = resource("Service", "cache", { selector: { app: "cache" }, ports: [{ name: "http", port: 80 }] });
      change(cache, resource("VirtualService", "web", { hosts: ["web"], http: [{ route: [{ destination: { host: "web" } }], timeout: "77s" }] }));
      await pushed();
      await waitUntil(async () => (await clusters()).includes("outbound|80||cache.default.svc.mesh.internal"), { what: "the new service's cluster" });
      await waitUntil(async () => (await tables()).some((table) => table.includes("80/cache.default.svc.mesh.internal:80")), { what: "the new service's virtual host" });
      await waitUntil(async () => (await admin("/config_dump")).includes('"77s"'), { what: "the changed route" });
      change(resource("DestinationRule", "web", { host: "web", subsets: [{ name: "v1", labels: { version: "v1" } }], trafficPolicy: { connectionPool: { tcp: { maxConnections: 777 } } } }));
      await pushed();
      // A changed cluster is cold until its endpoints come: Envoy's patience for them is 15 s.
      await waitUntil(async () => (await dumped("dynamic_active_clusters", JSON.stringify)).some((cluster) => cluster.includes("777")), { what: "the changed cluster to be warm", timeoutMs: 13_000 });
      mesh.take({ do: "delete", resource: cache });
      await pushed();
      await waitUntil(async () => (await clusters()).join() === atFirst.join(), { what: "the service to be gone" });
      await waitUntil(async () => !(await tables()).join().includes("cache"), { what: "its virtual host to be gone" });
      assert.deepEqual(await rejections(), []);
      assert.deepEqual(complaints, []);
    });
  }

  it("hears in Envoy's words what it refuses", async () => {
    group.defer(startAdsEnvoy({ folder, nodeId: NODE_ID, apiType: "GRPC", server: { socketAddress: { address: "127.0.0.1", portValue: port } } }));
    await waitUntil(async () => (await tables()).length === 5, { what: "all route tables" });
    mesh.take({ do: "trust", root: "no certificate" });
    mesh.clock.advance(BATCH_MS);
    await waitUntil(() => complaints.length > 0, { what: "a complaint" });
    assert.match(JSON.stringify(complaints[0]), /sidecar~10\.0\.0\.3~web.*trusted CA certificate/u);
    assert.notDeepEqual(await rejections(), []);
  });
});
