import assert from "node:assert/strict";
import { fromBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { openForeignView } from "../../../../discovery/push/foreign-view.ts";
import { type Push, startPush } from "../../../../discovery/push/push.ts";
import { type Listener, ListenerSchema } from "../../../../proto/gen/envoy/config/listener/v3/listener_pb.js";
import { VirtualHostSchema } from "../../../../proto/gen/envoy/config/route/v3/route_components_pb.js";
import { type RouteConfiguration, RouteConfigurationSchema } from "../../../../proto/gen/envoy/config/route/v3/route_pb.js";
import type { ResourceView } from "../../../../xds/resource-set.ts";
import { TYPE_URLS } from "../../../../xds/type-urls.ts";
import { BATCH_MS, HOSTS, type Mesh, startMesh } from "../../../support/push-mesh.ts";
import { meshSteps } from "../../../support/push-steps.ts";
import { resource } from "../../../support/resource.ts";

const ENVOY_TYPES = [TYPE_URLS.listener, TYPE_URLS.routeConfiguration, TYPE_URLS.cluster, TYPE_URLS.clusterLoadAssignment, TYPE_URLS.secret];
const names = (view: ResourceView, typeUrl: string): string[] => [...view.list(typeUrl)].map(({ name }) => name).sort();

describe("foreign view", () => {
  it("shows what one opened later shows, after any sequence of changes", async () => {
    await fc.assert(
      fc.asyncProperty(meshSteps, async (steps) => {
        const mesh = await startMesh();
        const push = startPush(mesh.inputs);
        const workloads = HOSTS.flatMap((hostId) => ["web", "db"].map((name) => ({ hostId, name })));
        const open = workloads.map((workload) => openForeignView(push, workload));
        for (const [one, isBatchEnd] of steps) {
          mesh.take(one);
          await mesh.settled();
          if (isBatchEnd) mesh.clock.advance(BATCH_MS);
        }
        mesh.clock.advance(BATCH_MS);
        for (const [index, workload] of workloads.entries()) {
          const fresh = openForeignView(push, workload);
          assert.deepEqual(versionsOf(open[index]?.view), versionsOf(fresh.view));
          for (const table of fresh.view.list(TYPE_URLS.routeConfiguration)) assertIsWhole(fromBinary(RouteConfigurationSchema, table.bytes), push);
          fresh.close();
        }
        for (const foreign of open) foreign.close();
        await push.close();
        await mesh.close();
      }),
      { numRuns: 40 },
    );
  });

  describe("of a host with two workloads", () => {
    let mesh: Mesh;
    let push: Push;
    let foreign: ReturnType<typeof openForeignView>;
    let view: ResourceView;
    beforeEach(async () => {
      mesh = await startMesh();
      for (const app of ["web", "db"]) {
        mesh.take({ do: "write", resource: resource("Service", app, { selector: { app }, ports: [{ name: "http", port: 80, targetPort: 8_080 }] }) });
        mesh.take({ do: "write", resource: resource("WorkloadGroup", app, { metadata: { labels: { app } }, template: { serviceAccount: app, ports: { http: 8_080 } } }) });
      }
      mesh.take({ do: "report", host: "h1", groups: ["default/web", "default/db"], isHealthy: true });
      await mesh.settled();
      push = startPush(mesh.inputs);
      foreign = openForeignView(push, { hostId: "h1", name: "web" });
      ({ view } = foreign);
    });
    afterEach(async () => {
      foreign.close();
      await push.close();
      await mesh.close();
    });
    const listener = (name: string): Listener => fromBinary(ListenerSchema, view.get(TYPE_URLS.listener, name)?.bytes ?? new Uint8Array());

    it("has the listeners and chains of the one workload", () => {
      assert.deepEqual(names(push.setOf("h1"), TYPE_URLS.listener), ["outbound|db", "outbound|web", "virtualInbound"], "its host has both");
      assert.deepEqual(names(view, TYPE_URLS.listener), ["outbound|web", "virtualInbound"]);
      assert.deepEqual(listener("virtualInbound").filterChains.map(({ name }) => name), ["web|8080|mtls", "web|8080|plain"]);
    });

    it("has whole route tables by plain names, and none of its neighbour", () => {
      assert.deepEqual(names(view, TYPE_URLS.routeConfiguration), ["80", "inbound|web|8080"]);
      const table = fromBinary(RouteConfigurationSchema, view.get(TYPE_URLS.routeConfiguration, "80")?.bytes ?? new Uint8Array());
      assertIsWhole(table, push);
      assert.deepEqual(table.virtualHosts.map(({ name }) => name), [
        "unknown-host",
        "80/db.default.svc.mesh.internal:80",
        "80/web.default.svc.mesh.internal:80",
      ]);
      assert.equal(table.ignorePortInHostMatching, true);
    });

    it("has the clusters, endpoints and validation that all share, and certificates of nobody", () => {
      const shared = names(push.shared, TYPE_URLS.cluster);
      assert.deepEqual(names(view, TYPE_URLS.cluster), ["BlackHoleCluster", "PassthroughCluster", "inbound|8080||", ...shared].sort());
      assert.equal(shared.length, 2);
      assert.deepEqual(names(view, TYPE_URLS.clusterLoadAssignment), names(push.shared, TYPE_URLS.clusterLoadAssignment));
      assert.ok(names(view, TYPE_URLS.secret).every((name) => name.startsWith("validation|")));
      const [chain] = listener("virtualInbound").filterChains;
      assert.match(Buffer.from(chain?.transportSocket?.configType.value?.value ?? []).toString("latin1"), /server\|spiffe:\/\/mesh\.internal\/ns\/default\/sa\/web/u, "it still says whose it would be");
    });

    it("changes one table for a route, and nothing for a neighbour's policy", () => {
      const before = versionsOf(view);
      const routed = resource("VirtualService", "web", { hosts: ["web"], http: [{ route: [{ destination: { host: "web" } }], timeout: "1s" }] });
      mesh.take({ do: "write", resource: routed });
      mesh.take({ do: "write", resource: resource("AuthorizationPolicy", "p", { selector: { matchLabels: { app: "db" } }, action: "ALLOW", rules: [{}] }) });
      mesh.clock.advance(BATCH_MS);
      const after = versionsOf(view);
      assert.deepEqual(Object.keys(after).filter((key) => after[key] !== before[key]), [`${TYPE_URLS.routeConfiguration} 80`]);
    });

    it("loses its listeners with its workload, and gets them back", async () => {
      mesh.take({ do: "report", host: "h1", groups: ["default/db"], isHealthy: true });
      await mesh.settled();
      mesh.clock.advance(BATCH_MS);
      assert.deepEqual(names(view, TYPE_URLS.listener), []);
      mesh.take({ do: "report", host: "h1", groups: ["default/web"], isHealthy: true });
      await mesh.settled();
      mesh.clock.advance(BATCH_MS);
      assert.deepEqual(names(view, TYPE_URLS.listener), ["outbound|web", "virtualInbound"]);
    });
  });
});

/** Every virtual host that others get one by one, and nothing to ask for. */
function assertIsWhole(table: RouteConfiguration, push: Push): void {
  assert.equal(table.vhds, undefined);
  const pushed = [...push.shared.virtualHostsOf(table.name)].sort();
  const inside = table.virtualHosts.filter(({ name }) => name.startsWith(`${table.name}/`));
  assert.deepEqual(inside, pushed.map((name) => fromBinary(VirtualHostSchema, push.shared.get(TYPE_URLS.virtualHost, name)?.bytes ?? new Uint8Array())));
}

function versionsOf(view: ResourceView | undefined): Record<string, string> {
  const all = ENVOY_TYPES.flatMap((typeUrl) => [...(view?.list(typeUrl) ?? [])].map(({ name, version }): [string, string] => [`${typeUrl} ${name}`, version]));
  return Object.fromEntries(all.sort(([left], [right]) => (left < right ? -1 : 1)));
}
