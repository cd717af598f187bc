import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";
import type { EndpointView, ServiceDescriptionView } from "../../discovery/http/api.ts";
import { type ControlPlaneFixture, prepareControlPlane } from "../support/control-plane.ts";
import { KubernetesApi } from "../support/kubernetes-api.ts";
import { pod, service, slice } from "../support/kubernetes-objects.ts";
import type { KubernetesObject } from "../support/kubernetes-objects.ts";
import { kubernetesPrograms } from "../support/kubernetes.ts";
import { waitUntil } from "../support/wait-until.ts";

const programs = kubernetesPrograms();
const UNREADY = { ready: false };
const web1 = { name: "web-1", uid: "" };

(programs === undefined ? describe.skip : describe)(programs === undefined ? "odd objects of kubernetes (no kube-apiserver and etcd, and no Go to build them)" : "odd objects of kubernetes", function () {
  this.timeout(120_000);
  let api: KubernetesApi;
  let mesh: ControlPlaneFixture;
  let applied: KubernetesObject[];

  before(async () => {
    assert.ok(programs !== undefined);
    api = await KubernetesApi.start(programs, { reader: "system:serviceaccount:ironmesh:ironmesh-registry" });
    await api.apply(...parseAllDocuments(readFileSync(join(import.meta.dirname, "..", "..", "docs", "kubernetes", "rbac.yaml"), "utf8")).map((document) => document.toJS() as KubernetesObject));
    mesh = prepareControlPlane([{ kind: "kubernetes", name: "east", kubeconfig: await api.kubeconfig("reader"), namespaces: ["default"] }]);
    await mesh.start();
  });
  after(async () => {
    await mesh?.close();
    await api?.stop();
  });
  beforeEach(() => void (applied = []));
  afterEach(() => api.remove(...applied));

  const apply = async (...objects: readonly KubernetesObject[]): Promise<void> => {
    applied.push(...objects);
    await api.apply(...objects);
  };
  const described = async (name: string): Promise<ServiceDescriptionView> => JSON.parse(await mesh.ironmesh("describe", "service", `east-default/${name}`, "-o", "json")) as ServiceDescriptionView;
  const placesOf = async (name: string): Promise<string[]> => (await described(name)).endpoints.map(({ addresses, port, workload, getsTraffic }) => `${addresses.join()}:${port} ${workload} ${getsTraffic ? "yes" : "no"}`);
  const becomes = (name: string, ...places: readonly string[]): Promise<boolean> =>
    waitUntil(async () => (await placesOf(name).catch(() => [])).join() === places.join(), { what: `${name} at ${places.join()}` });

  it("gives a pod that is ready traffic though another controller's slice says that it is not", async () => {
    const told = (conditions: object): KubernetesObject => slice("web-0", "web", [{ address: "10.1.0.1", conditions }]);
    await apply(service("web"), pod("web-1", { addresses: ["10.1.0.1"], labels: { version: "v1" } }), slice("web-a", "web", [{ address: "10.1.0.1", pod: web1 }]), told(UNREADY));
    await becomes("web", "10.1.0.1:8080 web-1 yes");
    assert.deepEqual((await described("web")).endpoints[0]?.labels, { version: "v1" });
    await apply(slice("web-a", "web", [{ address: "10.1.0.1", pod: web1, conditions: UNREADY }]));
    await becomes("web", "10.1.0.1:8080 web-1 no");
    await apply(told({}));
    await becomes("web", "10.1.0.1:8080 web-1 yes");
  });

  it("goes on to what publishNotReadyAddresses has for ready while it terminates, and not to others that do", async () => {
    const conditions = [{ ready: true, serving: false, terminating: true }, { ready: false, serving: true, terminating: true }];
    await apply(service("web", { publishNotReadyAddresses: true }), slice("web-a", "web", conditions.map((one, at) => ({ address: `10.1.0.${at + 1}`, conditions: one }))));
    await becomes("web", "10.1.0.1:8080 10.1.0.1 yes", "10.1.0.2:8080 10.1.0.2 no");
  });

  it("shows hints for nodes as it shows those for zones", async () => {
    const hinted = (nodeHints: readonly string[]): KubernetesObject => slice("web-a", "web", [{ address: "10.1.0.1", zoneHints: ["eu-1"], nodeHints }, { address: "10.1.0.2" }]);
    // What the API server takes, it gives us; more than eight nodes are not among that.
    await assert.rejects(apply(hinted(Array.from({ length: 9 }, (_, at) => `n${at}`))), /422.*forNodes/s);
    await apply(service("web", { trafficDistribution: "PreferSameNode" }), hinted(["n2", "n1"]));
    await waitUntil(async () => (await described("web").catch(() => undefined))?.endpoints[0]?.nodeHints.join() === "n1,n2", { what: "the hints" });
    assert.deepEqual((await described("web")).endpoints.map(({ zoneHints, nodeHints }) => [zoneHints, nodeHints]), [[["eu-1"], ["n1", "n2"]], [[], []]]);
    const note = "1 of its 2 endpoints is hinted for nodes, which no caller in the mesh is on";
    const table = await mesh.ironmesh("describe", "service", "east-default/web");
    assert.match(table, /ZONE HINTS +NODE HINTS.*\n.*10\.1\.0\.1:8080 .* eu-1 +n1,n2 +yes .*\n.*10\.1\.0\.2:8080 .* - +- +yes /);
    for (const printed of [table, await mesh.ironmesh("get", "services"), await mesh.ironmesh("get", "registries")]) assert.ok(printed.includes(note), printed);
    const listed = JSON.parse(await mesh.ironmesh("get", "endpoints", "east-default/web", "-o", "json")) as EndpointView[];
    assert.deepEqual(listed.map(({ address, nodeHints }) => [address, nodeHints]), [["10.1.0.1", ["n1", "n2"]], ["10.1.0.2", []]]);
    await apply(hinted(["n3"]));
    await waitUntil(async () => (await described("web")).endpoints[0]?.nodeHints.join() === "n3", { what: "another node" });
    await apply(service("web"), slice("web-a", "web", [{ address: "10.1.0.1" }, { address: "10.1.0.2" }]));
    await waitUntil(async () => (await described("web")).notes.length === 0, { what: "nothing to say" });
  });

  it("calls a service by its other name in the cluster, while there is one", async () => {
    await apply(service("old", { type: "ExternalName", externalName: "web.default.svc.cluster.local", ports: undefined }), service("web"), slice("web-a", "web", [{ address: "10.1.0.1" }]));
    await becomes("old", "10.1.0.1:8080 10.1.0.1 yes");
    await apply(slice("web-a", "web", [{ address: "10.1.0.2" }]));
    await becomes("old", "10.1.0.2:8080 10.1.0.2 yes");
    await api.remove(service("web"));
    await waitUntil(async () => /leads to no service of the cluster/.test((await described("old")).notes.join()), { what: "a note" });
    // Of the same name and another uid, as after a namespace that was made anew.
    await apply(service("web", { ports: [{ name: "http", port: 81, protocol: "TCP" }] }));
    await waitUntil(async () => (await described("old")).ports.map(({ number }) => number).join() === "81", { what: "the new one's port" });
    await becomes("old", "10.1.0.2:8080 10.1.0.2 yes");
  });

  it("says what is peculiar of services that are reached otherwise than one may expect", async () => {
    await apply(
      service("bare", { clusterIP: "None", ports: undefined }),
      service("own", {}, { annotations: { "networking.istio.io/exportTo": "." } }),
      service("tls", { ports: [{ name: "ui", port: 443, protocol: "TCP", appProtocol: "kubernetes.io/wss" }] }),
    );
    await waitUntil(async () => (await described("tls").catch(() => undefined))?.ports.map(({ protocol }) => protocol).join() === "TLS", { what: "the last service" });
    assert.deepEqual((await described("bare")).notes, ["it has no port: it gets no traffic"]);
    assert.deepEqual((await described("own")).notes, ["it is exported to . alone, which the mesh does not keep to yet: all of it sees the service"]);
  });
});
