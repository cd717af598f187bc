import assert from "node:assert/strict";
import type { Specs } from "../../../../api/resource.ts";
import { buildClusters } from "../../../../discovery/ir/build-cluster.ts";
import type { ClusterIr } from "../../../../discovery/ir/cluster.ts";
import type { Service } from "../../../../model/service.ts";
import { resource } from "../../../support/resource.ts";

const service: Service = {
  namespace: "default",
  name: "web",
  hostname: "web.default.svc.mesh.internal",
  aliases: [],
  ports: [{ name: "http", number: 80, protocol: "HTTP" }],
  resolution: "static",
  external: false,
  vips: [],
  labels: {},
  subjectAltNames: [],
  exportTo: ["*"],
  source: { registry: "static", object: "mesh.yaml:1" },
};

describe("buildClusters", () => {
  it("reads a limit of 0 as the default", () => {
    const [whole] = build({
      connectionPool: { tcp: { maxConnections: 0 }, http: { http1MaxPendingRequests: 0, http2MaxRequests: 0, maxRetries: 0, maxRequestsPerConnection: 0 } },
      outlierDetection: { maxEjectionPercent: 0 },
    });
    assert.deepEqual(whole?.connectionPool, {});
    assert.equal(whole?.outlierDetection?.maxEjectionPercent, 10);
  });

  it("takes every limit that is written", () => {
    const [whole] = build({
      connectionPool: {
        tcp: { maxConnections: 1, connectTimeout: "3s" },
        http: { http1MaxPendingRequests: 2, http2MaxRequests: 3, maxRetries: 4, maxRequestsPerConnection: 5, idleTimeout: "6s", h2UpgradePolicy: "UPGRADE" },
      },
    });
    assert.deepEqual(whole?.connectionPool, { maxConnections: 1, maxPendingRequests: 2, maxRequests: 3, maxRetries: 4, maxRequestsPerConnection: 5, idleTimeoutMs: 6_000 });
    assert.deepEqual([whole?.connectTimeoutMs, whole?.protocol], [3_000, "http2"]);
  });

  it("lets a subset replace settings group by group, and a port replace all of them", () => {
    const general = { loadBalancer: { simple: "ROUND_ROBIN" as const }, connectionPool: { tcp: { maxConnections: 1 } } };
    const [, merged] = build(general, { name: "v1", trafficPolicy: { loadBalancer: { simple: "RANDOM" } } });
    assert.deepEqual([merged?.loadBalancer.kind, merged?.connectionPool.maxConnections], ["random", 1]);
    const [ported] = build({ ...general, portLevelSettings: [{ port: { number: 80 }, connectionPool: { tcp: { maxConnections: 9 } } }] });
    assert.deepEqual([ported?.loadBalancer.kind, ported?.connectionPool.maxConnections], ["least-request", 9]);
  });
});

function build(
  trafficPolicy: NonNullable<Specs["DestinationRule"]["trafficPolicy"]>,
  ...subsets: NonNullable<Specs["DestinationRule"]["subsets"]>
): ClusterIr[] {
  const [port] = service.ports;
  assert.ok(port);
  return buildClusters(service, port, resource("DestinationRule", "web", { host: "web", trafficPolicy, subsets }), []);
}
