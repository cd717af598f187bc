import assert from "node:assert/strict";
import type { AnyResource } from "../../../../../api/resource.ts";
import { resourceKey } from "../../../../../api/resource.ts";
import { SourceCollection } from "../../../../../base/collection.ts";
import { buildStaticContent, createStaticRegistry } from "../../../../../discovery/registry/static/registry.ts";
import { resource } from "../../../../support/resource.ts";

const serviceOf = (from: AnyResource) => buildStaticContent(from, "mesh.internal").services[0]?.[1];

describe("static registry", () => {
  it("reads a core Service", () => {
    const service = serviceOf(resource("Service", "reviews", {
      selector: { app: "reviews" },
      ports: [{ name: "grpc-admin", port: 9_000, targetPort: "admin" }, { name: "web", port: 80, appProtocol: "http" }, { port: 3_306 }],
    }));
    assert.equal(service?.hostname, "reviews.default.svc.mesh.internal");
    assert.equal(service?.claim, "canonical");
    assert.deepEqual(service?.ports, [
      { name: "web", number: 80, protocol: "HTTP" },
      { name: "", number: 3_306, protocol: "TCP" },
      { name: "grpc-admin", number: 9_000, protocol: "GRPC", targetPort: "admin" },
    ]);
    assert.deepEqual(service?.backends, { kind: "selector", labels: { app: "reviews" } });
    assert.equal(service?.external, false);
  });

  it("gives a Service without selector no endpoints, not everybody's", () => {
    for (const spec of [{ ports: [] }, { ports: [], selector: {} }]) {
      assert.deepEqual(serviceOf(resource("Service", "bare", spec))?.backends, { kind: "explicit", workloads: [] });
    }
  });

  it("says which ports of a ServiceEntry cannot be told from others", () => {
    const ports = [{ name: "http", number: 80, protocol: "HTTP" }, { name: "tls", number: 443, protocol: "TLS" }, { name: "db", number: 5_432, protocol: "TCP" }];
    const notesOf = (spec: { hosts: string[]; addresses?: string[] }): readonly string[] => serviceOf(resource("ServiceEntry", "db", { ports, resolution: "DNS", ...spec }))?.notes ?? [];
    assert.deepEqual(notesOf({ hosts: ["db.example.com"] }).map((note) => note.split(" is ")[0]), ["port 5432"]);
    assert.deepEqual(notesOf({ hosts: ["db.example.com"], addresses: ["10.9.9.9"] }), []);
    // It gets a virtual address.
    assert.deepEqual(notesOf({ hosts: ["db.mesh.internal"] }), []);
  });

  it("reads a ServiceEntry with its own endpoints, one service per host", () => {
    const { services } = buildStaticContent(
      resource("ServiceEntry", "db", {
        hosts: ["Db.example.com", "db2.example.com"],
        addresses: ["10.9.9.9", "10.9.0.0/16"],
        ports: [{ name: "mysql", number: 3_306, protocol: "MYSQL" }],
        resolution: "STATIC",
        endpoints: [{ address: "10.1.1.1", ports: { mysql: 13_306 }, weight: 3 }, { address: "fd00::2" }],
      }),
      "mesh.internal",
    );
    assert.deepEqual(services.map(([id]) => id), ["ServiceEntry/default/db/db.example.com", "ServiceEntry/default/db/db2.example.com"]);
    const service = services[0]?.[1];
    assert.equal(service?.name, "db.example.com");
    assert.equal(service?.claim, "declared");
    assert.equal(service?.external, true);
    assert.deepEqual(service?.addresses, ["10.9.9.9"]);
    assert.equal(service?.notes.length, 1);
    const workloads = service?.backends.kind === "explicit" ? service.backends.workloads : [];
    assert.deepEqual(workloads.map(({ addresses, weight, meshed }) => [addresses[0], weight, meshed]), [["10.1.1.1", 3, false], ["fd00::2", 1, false]]);
  });

  it("resolves a DNS ServiceEntry without endpoints by its own host, a wildcard by nothing", () => {
    const backends = dnsBackends("api.example.com");
    assert.deepEqual(backends?.kind === "explicit" && backends.workloads.map(({ addresses }) => addresses), [["api.example.com"]]);
    assert.deepEqual(dnsBackends("*.example.com"), { kind: "explicit", workloads: [] });
  });

  it("never takes a WorkloadEntry for meshed, whatever identity it claims", () => {
    const [workload] = buildStaticContent(
      resource("WorkloadEntry", "vm", { address: "10.0.0.5", serviceAccount: "admin", labels: { app: "x" } }, { labels: { app: "y", team: "z" } }),
      "mesh.internal",
    ).workloads;
    assert.equal(workload?.meshed, false);
    assert.deepEqual(workload?.labels, { app: "x", team: "z" });
  });

  it("follows the configuration, and ends with it", () => {
    const config = new SourceCollection<AnyResource>();
    const registry = createStaticRegistry({ config, meshDomain: "mesh.internal" });
    const put = (...resources: AnyResource[]) => config.apply(resources.map((one) => [resourceKey(one), one]));
    put(resource("Service", "a", { ports: [] }));
    assert.equal(registry.status().synced, false);
    registry.start();
    put(resource("WorkloadGroup", "g", { template: { serviceAccount: "" } }), resource("ServiceEntry", "e", { hosts: ["a.io", "b.io"], ports: [] }));
    assert.deepEqual([...registry.services.entries().keys()], ["Service/default/a", "ServiceEntry/default/e/a.io", "ServiceEntry/default/e/b.io"]);
    assert.equal(registry.templates.get("default/g")?.serviceAccount, "default");
    put(resource("ServiceEntry", "e", { hosts: ["b.io"], ports: [] }));
    assert.deepEqual([...registry.services.entries().keys()], ["Service/default/a", "ServiceEntry/default/e/b.io"]);
    void registry.close();
    config.apply([["Service/default/a", undefined]]);
    assert.equal(registry.services.entries().size, 2);
  });
});

function dnsBackends(host: string) {
  return serviceOf(resource("ServiceEntry", "api", { hosts: [host], ports: [], resolution: "DNS" }))?.backends;
}
