import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../../../../base/clock.ts";
import { createKubernetesRegistry } from "../../../../../discovery/registry/kubernetes/registry.ts";
import type { Registry, RegistryService } from "../../../../../discovery/registry/registry.ts";
import { FakeKubernetes } from "../../../../fakes/kubernetes-server.ts";
import { pod, service, slice } from "../../../../support/kubernetes-objects.ts";
import type { KubernetesObject } from "../../../../support/kubernetes-objects.ts";
import { waitUntil } from "../../../../support/wait-until.ts";

const named = (name: string, externalName: string, spec: object = {}): KubernetesObject => service(name, { type: "ExternalName", externalName, ports: undefined, ...spec });
const shop = { namespace: "shop" };
const db = service("db", { ports: [{ name: "mysql", port: 3_306, protocol: "TCP" }, { name: "http-admin", port: 80, protocol: "TCP" }] }, shop);
const at = (address: string, conditions?: { readonly ready: boolean }): KubernetesObject => slice("db-a", "db", [{ address, pod: { name: "db-0", uid: "u1", ...shop }, ...(conditions === undefined ? {} : { conditions }) }], { ...shop, ports: [{ name: "mysql", port: 3_307 }, { name: "http-admin", port: 8_080 }] });

describe("an external name that is a service of the cluster", () => {
  let kubernetes: FakeKubernetes;
  let folder: string;
  let registry: Registry;

  beforeEach(async () => {
    kubernetes = await new FakeKubernetes().listen();
    folder = await mkdtemp(join(tmpdir(), "external-name-"));
    await writeFile(join(folder, "config"), kubernetes.kubeconfig());
    registry = createKubernetesRegistry({ name: "east", meshDomain: "mesh.internal", kubeconfig: join(folder, "config"), clock: systemClock, pacing: { resumeMs: 1, gatherMs: 2, backoff: { baseMs: 2, maxMs: 10 } } });
  });

  afterEach(async () => {
    await registry.close();
    await kubernetes.close();
    await rm(folder, { recursive: true });
  });

  const started = async (...objects: readonly KubernetesObject[]): Promise<void> => {
    kubernetes.put(...objects);
    registry.start();
    await waitUntil(() => registry.status().synced, { what: "the first content", intervalMs: 2 });
  };
  const placesOf = (name: string): string[] => workloadsOf(registry.services.get(`default/${name}`)).map(({ addresses, ports, health, labels }) => `${addresses.join()} ${Object.entries(ports).join(" ")} ${health} ${labels["app"] ?? "-"}`);
  const becomes = (name: string, ...places: readonly string[]): Promise<boolean> => waitUntil(() => placesOf(name).join() === places.join(), { what: `${name} at ${places.join() || "no place"}`, intervalMs: 2 });

  it("has the ports and instances of that one, over others that are external names too, and follows each of them", async () => {
    await started(db, at("10.0.0.1"), pod("db-0", { ...shop, uid: "u1", addresses: ["10.0.0.1"], labels: { app: "db" } }), named("db", "db.shop.svc.cluster.local."), named("old", "db.default.svc.cluster.local", { ports: [{ name: "mysql", port: 3_306, protocol: "TCP" }, { name: "gone", port: 99, protocol: "TCP" }] }));
    for (const name of ["db", "old"]) {
      const found = registry.services.get(`default/${name}`);
      assert.deepEqual([found?.resolution, found?.ports.map(({ number, protocol }) => [number, protocol])], ["static", [[80, "HTTP"], [3_306, "TCP"]]]);
      assert.deepEqual(placesOf(name), ["10.0.0.1 http-admin,8080 mysql,3307 healthy db"]);
    }
    // A selector of the mesh sees instances in the namespace of who runs them.
    assert.deepEqual(workloadsOf(registry.services.get("default/old")).map(({ namespace }) => namespace), ["east-shop"]);
    assert.deepEqual(registry.services.get("default/db")?.notes, []);
    assert.deepEqual(registry.services.get("default/old")?.notes, ["port 99 is left out: shop/db, which its external name leads to, has none"]);
    kubernetes.put(at("10.0.0.1", { ready: false }));
    await becomes("old", "10.0.0.1 http-admin,8080 mysql,3307 unhealthy db");
    kubernetes.put(pod("db-0", { ...shop, uid: "u1", addresses: ["10.0.0.1"], labels: { app: "new" } }), at("10.0.0.1"));
    await becomes("old", "10.0.0.1 http-admin,8080 mysql,3307 healthy new");
    kubernetes.put(named("db", "db.example.com", { ports: [{ name: "mysql", port: 3_306, protocol: "TCP" }] }));
    await becomes("old", "db.example.com gone,99 mysql,3306 healthy -");
    assert.equal(registry.services.get("default/old")?.resolution, "dns");
    kubernetes.put(named("db", "db.shop.svc.cluster.local"));
    await becomes("old", "10.0.0.1 http-admin,8080 mysql,3307 healthy new");
  });

  it("is asked for by DNS, with a note, while there is no such service, and when it leads round in a circle", async () => {
    await started(named("early", "db.shop.svc.cluster.local", { ports: [{ name: "mysql", port: 3_306, protocol: "TCP" }] }), named("round", "about.default.svc.cluster.local", { ports: [{ port: 80, protocol: "TCP" }] }), named("about", "round.default.svc.cluster.local"));
    const noteOf = (name: string): string => registry.services.get(`default/${name}`)?.notes.join() ?? "";
    assert.deepEqual(placesOf("early"), ["db.shop.svc.cluster.local mysql,3306 healthy -"]);
    assert.match(noteOf("early"), /its external name db\.shop\.svc\.cluster\.local leads to no service of the cluster that is read/);
    assert.match(noteOf("round"), /its external name \S+ leads to no service of the cluster that is read/);
    kubernetes.put(db, at("10.0.0.1"));
    await becomes("early", "10.0.0.1 http-admin,8080 mysql,3307 healthy -");
    assert.equal(noteOf("early"), "");
    kubernetes.remove(db);
    await becomes("early", "db.shop.svc.cluster.local mysql,3306 healthy -");
  });

  it("is no service where it is a name of the mesh, which no resolver of a host has", async () => {
    await started(named("loop", "loop.east-default.svc.mesh.internal", { ports: [{ name: "http", port: 80, protocol: "TCP" }] }));
    assert.deepEqual(placesOf("loop"), []);
    assert.match(registry.services.get("default/loop")?.notes.join() ?? "", /is a name of the mesh: it gets no traffic/);
  });
});

function workloadsOf(service: RegistryService | undefined) {
  return service?.backends.kind === "explicit" ? service.backends.workloads : [];
}
