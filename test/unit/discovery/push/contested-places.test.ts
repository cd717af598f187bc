import assert from "node:assert/strict";
import { startPush } from "../../../../discovery/push/push.ts";
import { hostReport, workloadReport } from "../../../support/host-report.ts";
import { BATCH_MS, startMesh } from "../../../support/push-mesh.ts";
import { resource } from "../../../support/resource.ts";

describe("a place that two workloads of a host claim", () => {
  it("is told under the identity that the host serves there, whichever of the two is well", async () => {
    const mesh = await startMesh();
    mesh.take({ do: "write", resource: resource("Service", "web", { selector: { app: "web" }, ports: [{ name: "http", port: 80, targetPort: 8_080 }] }) });
    for (const name of ["blue", "green"]) {
      mesh.take({ do: "write", resource: resource("WorkloadGroup", name, { metadata: { labels: { app: "web" } }, template: { serviceAccount: name, ports: { http: 8_080 } } }) });
    }
    await mesh.settled();
    const push = startPush(mesh.inputs);
    for (const well of ["blue", "green"]) {
      mesh.hosts.report("h1", hostReport(["blue", "green"].map((name) => workloadReport({ name, group: `default/${name}`, health: name === well ? "healthy" : "unhealthy" }))));
      mesh.clock.advance(BATCH_MS);
      const serving = push.proxyIr("h1")?.workloads.filter(({ inbound }) => inbound.length > 0).map(({ identity }) => identity);
      assert.deepEqual(mesh.inputs.endpoints.get("default/web")?.map(({ identity, health }) => [identity, health]), [[serving?.[0], well === "blue" ? "healthy" : "unhealthy"]]);
      assert.equal(serving?.length, 1);
    }
    await push.close();
    await mesh.close();
  });
});
