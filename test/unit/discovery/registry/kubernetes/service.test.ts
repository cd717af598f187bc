import assert from "node:assert/strict";
import { buildKubernetesService } from "../../../../../discovery/registry/kubernetes/service.ts";
import type { ServiceSettings } from "../../../../../discovery/registry/kubernetes/service.ts";
import { readMetadata } from "../../../../../discovery/kubernetes/object.ts";
import type { Reader } from "../../../../../discovery/kubernetes/object.ts";
import { readNode, readPod, readService, readSlice } from "../../../../../discovery/registry/kubernetes/objects.ts";
import type { RegistryService } from "../../../../../discovery/registry/registry.ts";
import { joinEndpoints } from "../../../../../discovery/catalog/join-endpoints.ts";
import type { Workload } from "../../../../../model/workload.ts";
import * as cluster from "../../../../support/kubernetes-objects.ts";
import type { KubernetesObject } from "../../../../support/kubernetes-objects.ts";

const settings: ServiceSettings = {
  registry: "east",
  meshDomain: "mesh.internal",
  namespacePrefix: "east-",
  clusterDomain: "cluster.local",
  network: "east-net",
  istioPods: "plaintext",
  locality: { region: "eu", zone: "eu-9", subZone: "" },
};

describe("a kubernetes service", () => {
  const web1 = { name: "web-1", uid: "u1" };

  it("has a namespace and a name of its own, and its native name", () => {
    const web = build(cluster.service("web", {}, { labels: { tier: "front" } }));
    assert.deepEqual([web.namespace, web.name, web.hostname], ["east-default", "web", "web.east-default.svc.mesh.internal"]);
    assert.deepEqual(web.aliases, ["web.default.svc.cluster.local"]);
    assert.deepEqual([web.labels, web.addresses, web.external, web.exportTo], [{ tier: "front" }, [], true, ["*"]]);
    assert.deepEqual(web.source, { registry: "east", object: "default/web" });
  });

  it("takes an instance's labels and service account from its pod, and its place from its node", () => {
    const web = build(
      cluster.service("web"),
      cluster.slice("web-a", "web", [{ address: "10.0.0.1", pod: web1, node: "n1" }]),
      cluster.pod("web-1", { uid: "u1", addresses: ["10.0.0.1"], labels: { version: "v2" }, serviceAccount: "web" }),
      cluster.node("n1", "us", "us-1"),
    );
    assert.deepEqual(workloadsOf(web), [
      {
        key: "east/pod/u1",
        namespace: "east-default",
        name: "web-1",
        addresses: ["10.0.0.1"],
        ports: { http: 8_080 },
        labels: { version: "v2" },
        serviceAccount: "web",
        locality: { region: "us", zone: "us-1", subZone: "" },
        network: "east-net",
        weight: 1,
        health: "healthy",
        meshed: false,
        source: { registry: "east", object: "default/web-1" },
      },
    ]);
  });

  it("is where the registry says when its node does not, and in the endpoint's zone at least", () => {
    const web = build(cluster.service("web"), cluster.slice("web-a", "web", [{ address: "10.0.0.1", node: "unknown" }, { address: "10.0.0.2", zone: "eu-2" }]));
    assert.deepEqual(workloadsOf(web).map(({ locality }) => locality.zone), ["eu-9", "eu-2"]);
    assert.deepEqual(workloadsOf(web).map(({ locality }) => locality.region), ["eu", "eu"]);
  });

  it("reads readiness, serving and terminating", () => {
    const conditions = [{}, { ready: true }, { ready: false }, { ready: false, serving: true, terminating: true }, { ready: false, serving: false, terminating: true }];
    const web = build(cluster.service("web"), cluster.slice("web-a", "web", conditions.map((one, at) => ({ address: `10.0.0.${at}`, conditions: one }))));
    assert.deepEqual(workloadsOf(web).map(({ health, healthDetail }) => [health, healthDetail]), [
      ["healthy", undefined],
      ["healthy", undefined],
      ["unhealthy", "not ready"],
      ["draining", "terminating"],
      ["unhealthy", "terminating"],
    ]);
  });

  it("makes one instance of a pod with addresses of both families, the service's first one first", () => {
    const objects = [
      cluster.slice("web-4", "web", [{ address: "10.0.0.1", pod: web1 }]),
      cluster.slice("web-6", "web", [{ address: "fd00::1", pod: web1 }], { addressType: "IPv6" }),
      cluster.pod("web-1", { uid: "u1", addresses: ["10.0.0.1", "fd00::1"] }),
    ];
    const addresses = (families: readonly string[]) => workloadsOf(build(cluster.service("web", { ipFamilies: families }), ...objects)).map((one) => one.addresses);
    assert.deepEqual(addresses(["IPv4", "IPv6"]), [["10.0.0.1", "fd00::1"]]);
    assert.deepEqual(addresses(["IPv6", "IPv4"]), [["fd00::1", "10.0.0.1"]]);
    // Also while the pod itself has not been seen.
    assert.deepEqual(workloadsOf(build(cluster.service("web"), ...objects.slice(0, 2))).map((one) => one.addresses), [["10.0.0.1", "fd00::1"]]);
  });

  it("makes one instance of a pod that is in two slices while they change, and believes the better news", () => {
    const web = build(
      cluster.service("web"),
      cluster.slice("web-a", "web", [{ address: "10.0.0.1", pod: web1, conditions: { ready: false } }]),
      cluster.slice("web-b", "web", [{ address: "10.0.0.1", pod: web1 }]),
    );
    assert.deepEqual(workloadsOf(web).map(({ addresses, health }) => [addresses, health]), [[["10.0.0.1"], "healthy"]]);
  });

  it("gives each port of the service what the slices of its instances have by that name", () => {
    const web = build(
      cluster.service("web", { ports: [{ name: "http", port: 80, targetPort: "web" }, { name: "grpc-api", port: 90, targetPort: 9_000 }, { name: "q", port: 91, protocol: "UDP" }] }),
      cluster.slice("web-a", "web", [{ address: "10.0.0.1" }], { ports: [{ name: "http", port: 8_080 }, { name: "grpc-api", port: 9_000 }] }),
      cluster.slice("web-b", "web", [{ address: "10.0.0.2" }], { ports: [{ name: "http", port: 8_081 }] }),
    );
    assert.deepEqual(web.ports.map(({ name, number, protocol }) => [name, number, protocol]), [["http", 80, "HTTP"], ["grpc-api", 90, "GRPC"]]);
    assert.deepEqual(web.notes, ["port q is left out: it speaks UDP"]);
    const { endpoints, notes } = joinEndpoints([{ way: "static", ports: web.ports.map((port) => [port.number, port]), workloads: workloadsOf(web), hasGroup: false, allowsPlaintext: false }], "mesh.internal");
    assert.deepEqual(endpoints.map(({ servicePort, address, port }) => [servicePort, address, port]), [[80, "10.0.0.1", 8_080], [80, "10.0.0.2", 8_081], [90, "10.0.0.1", 9_000]]);
    assert.deepEqual(notes, ["east default/web-b: has no port grpc-api"], "never a number that the instance does not listen on");
  });

  it("takes the zones that an endpoint is hinted for, those of all its slices, and says that nobody keeps to them", () => {
    const web = build(
      cluster.service("web", { trafficDistribution: "PreferClose" }),
      cluster.slice("web-4", "web", [{ address: "10.0.0.1", pod: web1, zoneHints: ["eu-2", "eu-1"] }, { address: "10.0.0.2" }]),
      cluster.slice("web-6", "web", [{ address: "fd00::1", pod: web1, zoneHints: ["eu-3", "eu-1"] }], { addressType: "IPv6" }),
    );
    assert.deepEqual(workloadsOf(web).map(({ zoneHints }) => zoneHints), [undefined, ["eu-1", "eu-2", "eu-3"]]);
    assert.deepEqual(web.notes, [
      "1 of its 2 endpoints is hinted for zones, which callers in the mesh do not keep to yet",
      "its trafficDistribution PreferClose is for callers in the cluster: those in the mesh do not go by it yet",
    ]);
    const { endpoints } = joinEndpoints([{ way: "static", ports: web.ports.map((port) => [port.number, port]), workloads: workloadsOf(web), hasGroup: false, allowsPlaintext: false }], "mesh.internal");
    assert.deepEqual(endpoints.map(({ address, zoneHints }) => [address, zoneHints]), [["10.0.0.1", ["eu-1", "eu-2", "eu-3"]], ["10.0.0.2", undefined]]);
  });

  it("takes the nodes that an endpoint is hinted for, beside the zones", () => {
    const hinted = cluster.slice("web-a", "web", [{ address: "10.0.0.1", zoneHints: ["eu-1"], nodeHints: ["n2", "n1", "n2"] }, { address: "10.0.0.2", nodeHints: ["n3"] }, { address: "10.0.0.3" }]);
    const web = build(cluster.service("web", { trafficDistribution: "PreferSameNode" }), hinted);
    assert.deepEqual(workloadsOf(web).map(({ zoneHints, nodeHints }) => [zoneHints, nodeHints]), [[["eu-1"], ["n1", "n2"]], [undefined, ["n3"]], [undefined, undefined]]);
    assert.deepEqual(web.notes, [
      "1 of its 3 endpoints is hinted for zones, which callers in the mesh do not keep to yet",
      "2 of its 3 endpoints are hinted for nodes, which no caller in the mesh is on",
      "its trafficDistribution PreferSameNode is for callers in the cluster: those in the mesh do not go by it yet",
    ]);
  });

  for (const [hints, zones, isWhole] of [
    [null, undefined, true],
    [{}, undefined, true],
    [{ forZones: null }, undefined, true],
    [{ forZones: [] }, undefined, true],
    [{ forNodes: [{ name: "n1" }] }, undefined, true],
    [{ forNodes: "n1", forZones: [{ name: "eu-1" }] }, ["eu-1"], false],
    [{ forNodes: [{ name: "n".repeat(254) }] }, undefined, false],
    [{ forZones: "eu-1" }, undefined, false],
    ["eu-1", undefined, false],
    [{ forZones: [null, "eu-1", {}, { name: "" }, { name: 7 }, { name: "z".repeat(64) }, { name: "eu-1", weight: 2 }] }, ["eu-1"], false],
    [{ forZones: Array.from({ length: 1_000 }, (_, at) => ({ name: `z${at}` })) }, Array.from({ length: 8 }, (_, at) => `z${at}`), false],
  ] as const) {
    it(`loses no endpoint for hints that are ${JSON.stringify(hints).slice(0, 60)}`, () => {
      const plain = cluster.slice("web-a", "web", [{ address: "10.0.0.1" }]);
      const web = build(cluster.service("web"), { ...plain, endpoints: (plain["endpoints"] as object[]).map((endpoint) => ({ ...endpoint, hints })) });
      assert.deepEqual(workloadsOf(web).map(({ addresses, zoneHints }) => [addresses[0], zoneHints]), [["10.0.0.1", zones]]);
      assert.equal(web.notes.some((note) => note.startsWith("slice default/web-a has hints that name no zones or nodes, or more of them")), !isWhole);
    });
  }

  it("is none the worse for a traffic distribution that nobody knows", () => {
    for (const [trafficDistribution, note] of [[null, undefined], ["", undefined], ["PreferMars", /PreferMars is for callers in the cluster/], [7, /7 is for callers/], [["PreferClose"], /PreferClose/]] as const) {
      const { ports, notes } = build(cluster.service("web", { trafficDistribution }));
      assert.equal(ports.length, 1);
      if (note === undefined) assert.deepEqual(notes, []);
      else assert.match(notes.join(), note);
    }
  });

  it("says that it is reached by nobody where it has no port", () => {
    assert.deepEqual(build(cluster.service("web", { clusterIP: "None", ports: null }), cluster.slice("web-a", "web", [{ address: "10.0.0.1" }], { ports: [] })).notes, ["it has no port: it gets no traffic"]);
  });

  it("says what else it asks for that callers in the mesh do not go by", () => {
    const notes = (spec: object): readonly string[] => build(cluster.service("web", spec)).notes;
    assert.deepEqual(notes({ sessionAffinity: "ClientIP", internalTrafficPolicy: "Local" }), [
      "its internalTrafficPolicy Local is for callers in the cluster: those in the mesh do not go by it yet",
      "its sessionAffinity ClientIP is for callers in the cluster: those in the mesh do not go by it yet",
    ]);
    for (const usual of [{}, { sessionAffinity: "None", internalTrafficPolicy: "Cluster" }, { sessionAffinity: null, internalTrafficPolicy: null }]) assert.deepEqual(notes(usual), []);
    assert.deepEqual(notes({ type: "ExternalName", externalName: "db.example.com", sessionAffinity: "ClientIP" }), []);
  });

  it("selects the protocol by appProtocol before the name", () => {
    const ports = [{ name: "http", port: 80, appProtocol: "kubernetes.io/h2c" }, { name: "db", port: 3_306 }, { name: "", port: 81, appProtocol: "example.com/mine" }];
    assert.deepEqual(build(cluster.service("web", { ports })).ports.map(({ protocol }) => protocol), ["HTTP2", "TCP", "TCP"]);
  });

  it("takes endpoints that somebody wrote down, headless or not", () => {
    const web = build(
      cluster.service("web", { clusterIP: "None", ports: [{ port: 80 }] }),
      cluster.slice("mine", "web", [{ address: "192.0.2.1" }, { address: "192.0.2.2" }], { ports: [{ name: "", port: 8_080 }] }),
    );
    assert.deepEqual(workloadsOf(web).map(({ key, name, addresses, ports }) => [key, name, addresses, ports]), [
      ["east/endpoint/default/mine/192.0.2.1", "192.0.2.1", ["192.0.2.1"], { "": 8_080 }],
      ["east/endpoint/default/mine/192.0.2.2", "192.0.2.2", ["192.0.2.2"], { "": 8_080 }],
    ]);
  });

  it("gives no pod's labels to an address that is not the pod's, or to a slice of another namespace", () => {
    const theirs = cluster.pod("web-1", { uid: "u1", addresses: ["10.0.0.1"], labels: { app: "bank" }, serviceAccount: "bank" });
    const elsewhere = cluster.pod("web-1", { uid: "u1", addresses: ["10.0.0.1"], labels: { app: "bank" }, namespace: "bank" });
    const forged = cluster.slice("mine", "web", [{ address: "10.6.6.6", pod: web1 }]);
    const far = cluster.slice("mine", "web", [{ address: "10.0.0.1", pod: { ...web1, namespace: "bank" } }]);
    for (const [slice, pod] of [[forged, theirs], [far, elsewhere], [cluster.slice("mine", "web", [{ address: "10.0.0.1", pod: web1 }]), elsewhere]] as const) {
      const [workload] = workloadsOf(build(cluster.service("web"), slice, pod));
      assert.deepEqual([workload?.labels, workload?.serviceAccount], [{}, ""]);
    }
    const both = build(cluster.service("web"), forged, theirs, cluster.slice("true", "web", [{ address: "10.0.0.1", pod: web1 }]));
    assert.deepEqual(workloadsOf(both).map(({ key, addresses }) => [key, addresses]), [["east/endpoint/default/mine/10.6.6.6", ["10.6.6.6"]], ["east/pod/u1", ["10.0.0.1"]]]);
    assert.match(both.notes.join(), /10\.6\.6\.6 to the pod web-1, which does not have it/);
  });

  it("leaves out addresses that are no place to share, and types without a meaning", () => {
    const web = build(
      cluster.service("web"),
      cluster.slice("a", "web", [{ address: "127.0.0.1" }, { address: "169.254.169.254" }]),
      cluster.slice("b", "web", [{ address: "db.example.com" }], { addressType: "FQDN" }),
    );
    assert.deepEqual(workloadsOf(web), []);
    assert.equal(web.notes.length, 3);
  });

  it("says no more of thousands of odd endpoints than a person reads", () => {
    const odd = Array.from({ length: 3_000 }, (_, at) => cluster.slice(`a-${at}`, "web", [{ address: "127.0.0.1" }]));
    const { notes } = build(cluster.service("web"), ...odd);
    assert.deepEqual([notes.length, notes.at(-1)], [21, "and 2980 more such notes"]);
    assert.equal(build(cluster.service("web"), ...odd.slice(0, 20)).notes.length, 20);
  });

  it("resolves an external name by DNS, unless that would be another place on each host", () => {
    const db = build(cluster.service("db", { type: "ExternalName", externalName: "DB.example.com.", ports: [{ name: "mysql", port: 3_306 }] }));
    assert.equal(db.resolution, "dns");
    assert.deepEqual(workloadsOf(db).map(({ key, addresses, ports }) => [key, addresses, ports]), [["east/external/default/db", ["db.example.com"], { mysql: 3_306 }]]);
    for (const externalName of ["localhost", "127.0.0.1", "10.0.0.1", "*.example.com", ""]) {
      const refused = build(cluster.service("db", { type: "ExternalName", externalName }));
      assert.deepEqual([workloadsOf(refused).length, refused.notes.length], [0, 1], externalName);
    }
  });

  for (const told of [
    { annotations: { "sidecar.istio.io/status": "{}" } },
    { containers: ["app", "istio-proxy"] },
    { labels: { "security.istio.io/tlsMode": "istio" } },
    { annotations: { "ambient.istio.io/redirection": "enabled" } },
  ]) {
    it(`says that pods are in an Istio mesh, and calls them in plaintext or not at all: ${JSON.stringify(told)}`, () => {
      const objects = [cluster.slice("a", "web", [{ address: "10.0.0.1", pod: web1 }, { address: "10.0.0.2" }]), cluster.pod("web-1", { uid: "u1", addresses: ["10.0.0.1"], ...told })];
      const web = build(cluster.service("web"), ...objects);
      assert.match(web.notes.join(), /in an Istio mesh: they are called in plaintext/);
      assert.deepEqual(workloadsOf(web).map(({ meshed }) => meshed), [false, false]);
      const careful = buildWith({ ...settings, istioPods: "exclude" }, cluster.service("web"), ...objects);
      assert.match(careful.notes.join(), /in an Istio mesh: they get no traffic/);
      assert.deepEqual(workloadsOf(careful).map(({ addresses }) => addresses[0]), ["10.0.0.2"]);
      // Where pods cannot be read nobody knows.
      const blind = buildWith({ ...settings, istioPods: "exclude" }, cluster.service("web"), ...objects.slice(0, 1));
      assert.deepEqual([workloadsOf(blind).map(({ addresses }) => addresses[0]), blind.notes], [["10.0.0.2"], ["pods of it are not known: they get no traffic while they may be in an Istio mesh, as the registry's istioPods says"]]);
    });
  }

  it("maps the namespaces that it is exported to, and is none where its own cannot be mapped", () => {
    const web = build(cluster.service("web", {}, { annotations: { "networking.istio.io/exportTo": "., shop" } }));
    assert.deepEqual(web.exportTo, [".", "east-shop"]);
    assert.deepEqual(web.notes, ["it is exported to ., east-shop alone, which the mesh does not keep to yet: all of it sees the service"]);
    for (const open of ["", "*", ".,*"]) assert.deepEqual(build(cluster.service("web", {}, { annotations: { "networking.istio.io/exportTo": open } })).notes, []);
    const far = seen(readService, cluster.service("web", {}, { namespace: "n".repeat(59) })).value;
    assert.ok(far !== undefined);
    assert.equal(buildKubernetesService(far, [], nothing, settings), undefined);
    for (const wrong of [{ name: "bank.example.com" }, { name: "*" }, { name: "a/b" }, { namespace: "a.b" }, { namespace: "*" }]) {
      assert.equal(buildKubernetesService({ ...far, namespace: "shop", ...wrong }, [], nothing, settings), undefined, JSON.stringify(wrong));
    }
  });
});

const nothing = { podByUid: () => undefined, nodeByName: () => undefined };

function build(service: KubernetesObject, ...others: readonly KubernetesObject[]): RegistryService {
  return buildWith(settings, service, ...others);
}

function buildWith(settings: ServiceSettings, service: KubernetesObject, ...others: readonly KubernetesObject[]): RegistryService {
  const of = <T>(kind: string, read: Reader<T>): [string, T][] =>
    others.filter((object) => object.kind === kind).map((object) => {
      const { key, value, problem } = seen(read, object);
      assert.ok(value !== undefined, problem);
      return [key, value];
    });
  const pods = new Map(of("Pod", readPod).map(([, pod]) => [pod.uid, pod]));
  const nodes = new Map(of("Node", readNode));
  const { value } = seen(readService, service);
  assert.ok(value !== undefined);
  const built = buildKubernetesService(value, of("EndpointSlice", readSlice).map(([, slice]) => slice), { podByUid: (uid) => pods.get(uid), nodeByName: (name) => nodes.get(name) }, settings);
  assert.ok(built !== undefined);
  return built;
}

function seen<T>(read: Reader<T>, object: KubernetesObject) {
  const written = { ...object, metadata: { ...object.metadata, resourceVersion: "1" } };
  return read(written, readMetadata(written));
}

function workloadsOf({ backends }: RegistryService): readonly Workload[] {
  assert.ok(backends.kind === "explicit");
  return backends.workloads;
}
