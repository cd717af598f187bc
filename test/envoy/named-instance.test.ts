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
import { BATCH_MS, startMesh } from "../support/push-mesh.ts";
import { resource } from "../support/resource.ts";
import { createTestAuthority } from "../support/test-authority.ts";
import { waitUntil } from "../support/wait-until.ts";

const WEB = { app: "web" };
const entry = (name: string, address: string): AnyResource => resource("WorkloadEntry", name, { address, labels: { app: "db" } });
const MESH: readonly AnyResource[] = [
  resource("WorkloadGroup", "web", { metadata: { labels: WEB }, template: { serviceAccount: "web", ports: { http: 8_080 } } }),
  resource("Service", "web", { selector: WEB, ports: [{ name: "http", port: 80, targetPort: 8_080 }] }),
  resource("Service", "db", { selector: { app: "db" }, ports: [{ name: "http", port: 80 }] }),
  // Istio's own API takes a name there.
  entry("vm-1", "vm-1.example.com"),
  entry("vm-2", "10.9.0.2"),
];

describe("an instance with a name beside those with addresses, with a real Envoy", function () {
  this.timeout(60_000);

  it("costs the others nothing", async () => {
    const group = new TaskGroup();
    try {
      const folder = mkdtempSync(join(tmpdir(), "named-instance-"));
      group.defer(() => rmSync(folder, { recursive: true, force: true }));
      const mesh = await startMesh();
      group.defer(() => mesh.close());
      for (const one of MESH) mesh.take({ do: "write", resource: one });
      mesh.take({ do: "trust", root: createTestAuthority().root });
      mesh.take({ do: "report", host: "h1", groups: ["default/web"], isHealthy: true });
      await mesh.settled();
      const refused: unknown[] = [];
      const logger: Logger = { ...silentLogger, warn: (facts: unknown) => void refused.push(facts) };
      const push = group.own(startPush(mesh.inputs));
      const server = group.own(await openDebugPort({ listen: { host: "127.0.0.1", port: 0 }, hosts: mesh.hosts, push, logger }));
      assert.ok("port" in server.address);
      group.defer(startAdsEnvoy({ folder, nodeId: "sidecar~10.0.0.3~web.default~default.svc.mesh.internal", apiType: "DELTA_GRPC", server: { socketAddress: { address: "127.0.0.1", portValue: server.address.port } } }));
      const addresses = async (): Promise<string[]> => {
        const { body } = await askSocket(join(folder, "admin"), "/clusters");
        return body.split("\n").flatMap((line) => /^outbound\|80\|\|db\.default\.svc\.mesh\.internal::([\d.]+:\d+)::health_flags/.exec(line)?.[1] ?? []);
      };
      await waitUntil(async () => (await addresses()).join() === "10.9.0.2:80", { what: "the address" });
      mesh.take({ do: "write", resource: entry("vm-2", "10.9.0.3") });
      await mesh.settled();
      mesh.clock.advance(BATCH_MS);
      await waitUntil(async () => (await addresses()).join() === "10.9.0.3:80", { what: "the other address" });
      assert.deepEqual(refused, []);
    } finally {
      await group.close();
    }
  });
});
