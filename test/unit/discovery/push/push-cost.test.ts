import assert from "node:assert/strict";
import { startPush } from "../../../../discovery/push/push.ts";
import { TYPE_URLS } from "../../../../xds/type-urls.ts";
import { hostReport, workloadReport } from "../../../support/host-report.ts";
import { collectGarbage } from "../../../support/garbage.ts";
import { BATCH_MS, HOSTS, startMesh } from "../../../support/push-mesh.ts";
import { versionsOf } from "../../../support/pushed-versions.ts";
import { resource } from "../../../support/resource.ts";

describe("what a push does anew", () => {
  it("changes one load assignment for one endpoint, and no listener for a route", async () => {
    const mesh = await startMesh();
    for (const app of ["web", "db"]) {
      mesh.take({ do: "write", resource: resource("Service", app, { selector: { app }, ports: [{ name: "http", port: 80, targetPort: 8_080 }] }) });
      mesh.take({ do: "write", resource: resource("WorkloadGroup", app, { metadata: { labels: { app } }, template: { ports: { http: 8_080 } } }) });
    }
    mesh.take({ do: "report", host: "h1", groups: ["default/web", "default/db"], isHealthy: true });
    await mesh.settled();
    const push = startPush(mesh.inputs);
    const changed = (act: () => void): string[] => {
      const before = versionsOf(push);
      act();
      mesh.clock.advance(BATCH_MS);
      const after = versionsOf(push);
      return [...new Set([...Object.keys(before), ...Object.keys(after)])].filter((key) => before[key] !== after[key]);
    };
    assert.deepEqual(
      changed(() => mesh.take({ do: "report", host: "h2", groups: ["default/web"], isHealthy: true })).filter((key) => !key.startsWith("h2 ")),
      ["shared ClusterLoadAssignment outbound|80||web.default.svc.mesh.internal"],
    );
    const routed = resource("VirtualService", "web", { hosts: ["web"], http: [{ route: [{ destination: { host: "web" } }], timeout: "1s" }] });
    assert.deepEqual(changed(() => mesh.take({ do: "write", resource: routed })), ["shared VirtualHost 80/web.default.svc.mesh.internal:80"]);
    await push.close();
    await mesh.close();
  });

  it("makes the listener of equal workloads once, however many hosts there are, and nothing else of a host anew for a TCP service", async () => {
    const mesh = await startMesh();
    mesh.take({ do: "write", resource: resource("WorkloadGroup", "client", { template: { ports: { http: 8_080 } } }) });
    const ports = [15_101, 15_101, 15_102];
    for (const [at, outboundPort] of ports.entries()) {
      mesh.hosts.report(`host-${at}`, hostReport([workloadReport({ name: "client", group: "default/client", addresses: [`10.9.0.${at}`], ports: { http: 8_080 }, outboundPort })]));
    }
    await mesh.settled();
    const push = startPush(mesh.inputs);
    const listeners = (name: string) => ports.map((_, at) => push.setOf(`host-${at}`).get(TYPE_URLS.listener, name));
    const inbound = listeners("virtualInbound");
    let before: ReturnType<typeof listeners> = [];
    for (const name of ["db", "cache"]) {
      mesh.take({ do: "write", resource: resource("Service", name, { selector: { app: name }, ports: [{ name: "tcp", port: 5_432 }] }) });
      await mesh.settled();
      mesh.clock.advance(BATCH_MS);
      const [first, second, third] = listeners("outbound|client");
      assert.ok(first !== undefined && third !== undefined && first !== before[0]);
      assert.equal(first, second);
      assert.notEqual(first.version, third.version);
      assert.ok(Buffer.from(first.bytes).includes(`tcp|5432|${name}.default.svc.mesh.internal`));
      before = [first, second, third];
    }
    for (const [at, listener] of listeners("virtualInbound").entries()) assert.ok(listener !== undefined && listener === inbound[at]);
    await push.close();
    await mesh.close();
  });

  it("keeps no listener for what a host said once", async () => {
    const mesh = await startMesh();
    mesh.take({ do: "write", resource: resource("WorkloadGroup", "client", { template: { ports: { http: 8_080 } } }) });
    const report = (host: string, name: string, outboundPort: number): void =>
      void mesh.hosts.report(host, hostReport([workloadReport({ name, group: "default/client", addresses: [`10.9.0.${host.length}`], outboundPort })]));
    const listener = (host: string) => push.setOf(host).get(TYPE_URLS.listener, "outbound|client");
    report("h1", "client", 15_101);
    await mesh.settled();
    const push = startPush(mesh.inputs);
    const first = new WeakRef(listener("h1") ?? assert.fail());
    const [odd] = [15_102].map((port) => {
      report("h1", "client", port);
      mesh.clock.advance(BATCH_MS);
      report("h1", "other", port);
      mesh.clock.advance(BATCH_MS);
      report("h1", "client", port);
      mesh.clock.advance(BATCH_MS);
      return new WeakRef(listener("h1") ?? assert.fail());
    });
    await collectGarbage();
    assert.equal(first.deref(), undefined);
    report("other", "client", 15_102);
    mesh.clock.advance(BATCH_MS);
    assert.equal(listener("other"), odd?.deref(), "what somebody has is shared");
    await push.close();
    await mesh.close();
  });

  it("makes no host anew for the health of another one's instance of the same service", async () => {
    const mesh = await startMesh();
    mesh.take({ do: "write", resource: resource("Service", "web", { selector: { app: "web" }, ports: [{ name: "http", port: 80, targetPort: 8_080 }] }) });
    mesh.take({ do: "write", resource: resource("WorkloadGroup", "web", { metadata: { labels: { app: "web" } }, template: { ports: { http: 8_080 } } }) });
    for (const host of HOSTS) mesh.take({ do: "report", host, groups: ["default/web"], isHealthy: true });
    await mesh.settled();
    const { workloads } = mesh.inputs;
    const read: string[] = [];
    const push = startPush({
      ...mesh.inputs,
      workloads: {
        entries: () => workloads.entries(),
        subscribe: (listener) => workloads.subscribe(listener),
        get(key) {
          read.push(key);
          return workloads.get(key);
        },
      },
    });
    const readFor = (act: () => void): string[] => {
      read.length = 0;
      act();
      mesh.clock.advance(BATCH_MS);
      return [...new Set(read)];
    };
    const own = readFor(() => mesh.take({ do: "report", host: "h2", groups: ["default/web"], isHealthy: false }));
    assert.equal(own.length, 1);
    assert.match(own[0] ?? "", /h2/);
    assert.equal(readFor(() => mesh.take({ do: "write", resource: resource("Service", "web", { selector: { app: "web" }, ports: [{ name: "tcp", port: 80, targetPort: 8_080 }] }) })).length, 2);
    await push.close();
    await mesh.close();
  });
});
