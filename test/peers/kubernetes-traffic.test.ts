import assert from "node:assert/strict";
import { mkdtemp, readFileSync, rmSync } from "node:fs";
import { connect, createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { fileURLToPath } from "node:url";
import { parseAllDocuments } from "yaml";
import { istioDefinitions } from "../support/istio-definitions.ts";
import { KubernetesApi } from "../support/kubernetes-api.ts";
import { istio, pod, service, slice } from "../support/kubernetes-objects.ts";
import type { KubernetesObject } from "../support/kubernetes-objects.ts";
import { kubernetesPrograms } from "../support/kubernetes.ts";
import { type LiveMesh, startLiveMesh } from "../support/live-mesh.ts";
import { waitUntil } from "../support/wait-until.ts";

const programs = kubernetesPrograms();
const definitions = istioDefinitions();
const isPossible = programs !== undefined && definitions !== undefined;
const ACCOUNT = "system:serviceaccount:ironmesh:ironmesh-registry";
const FORWARD = fileURLToPath(new URL("../support/lab-forward.mjs", import.meta.url));
const WEB_UID = 1_001;
const YAML = `apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: web, namespace: shop}
spec: {template: {serviceAccount: web}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: own, namespace: shop}
spec: {metadata: {labels: {app: own}}, template: {serviceAccount: own, ports: {http: 9090}}}
---
apiVersion: v1
kind: Service
metadata: {name: own, namespace: shop}
spec: {selector: {app: own}, ports: [{name: http, port: 80, targetPort: 9090}]}
`;

(isPossible ? describe : describe.skip)(isPossible ? "traffic to a kubernetes service" : "traffic to a kubernetes service (no kube-apiserver and etcd, or no Istio definitions, and no Go to get them)", function () {
  this.timeout(240_000);
  let folder: string;
  let api: KubernetesApi;
  let wayOut: Server;
  let mesh: LiveMesh;
  /** Addresses of the pods: hosts of the lab that no agent runs on. */
  const addresses: Record<string, string> = {};
  const shipped = ["rbac.yaml", "rbac-resources.yaml"].flatMap((file) =>
    parseAllDocuments(readFileSync(join(import.meta.dirname, "..", "..", "docs", "kubernetes", file), "utf8")).map((document) => document.toJS() as KubernetesObject),
  );

  before(async () => {
    assert.ok(programs !== undefined && definitions !== undefined);
    folder = await promisify(mkdtemp)(join(tmpdir(), "ironmesh-traffic-"));
    api = await KubernetesApi.start(programs, { reader: ACCOUNT });
    await api.apply(...shipped, ...definitions.filter(({ metadata }) => /^(virtualservices|destinationrules|serviceentries|workloadgroups|authorizationpolicies)\./.test(metadata.name)));
    const labels = { app: "old" };
    const group = istio("WorkloadGroup", "old", { metadata: { labels }, template: { serviceAccount: "old", ports: { http: 9_080 } } }, { namespace: "default" });
    const entry = istio("ServiceEntry", "old", { hosts: ["old.default.svc.cluster.local"], location: "MESH_INTERNAL", resolution: "STATIC", ports: [{ number: 80, name: "http", targetPort: 9_080 }], workloadSelector: { labels } }, { namespace: "default" });
    await waitUntil(() => api.apply(group, entry).then(() => true), { what: "Istio's kinds to be served" });
    const socket = join(folder, "way-out");
    wayOut = createServer((incoming) => {
      const outgoing = connect(api.port, "127.0.0.1");
      for (const [from, to] of [[incoming, outgoing], [outgoing, incoming]] as const) {
        from.pipe(to);
        from.on("error", () => to.destroy());
        from.on("close", () => to.destroy());
      }
    });
    await new Promise<void>((resolve) => wayOut.listen(socket, resolve));
    mesh = await startLiveMesh({
      hosts: {
        vm: [{ name: "web", group: "shop/web", uid: WEB_UID }],
        // Of a group that the cluster says, and of one that it does not.
        server: [{ name: "old", group: "east-default/old", uid: 1_002, http: [9_080] }, { name: "own", group: "shop/own", uid: 1_003, http: [9_090] }],
      },
      yaml: YAML,
      beside: {
        hosts: ["pod-1", "pod-2"],
        async prepare(hosts, control) {
          for (const name of ["pod-1", "pod-2"]) {
            await hosts[name]?.startApplication({ name, uid: 65_534, listeners: [{ port: 8_080, kind: "http" }] });
            addresses[name] = hosts[name]?.addresses.v4 ?? "";
          }
          const forward = control.spawn(process.execPath, [FORWARD, String(api.port), socket]);
          await waitUntil(() => forward.output().includes("listening"), { what: "the way to the API server" });
          return [{ kind: "kubernetes", name: "east", kubeconfig: await api.kubeconfig("reader"), resources: true }];
        },
      },
    });
    await api.apply(service("reviews"), ...podObjects("pod-1", "v1"), ...podObjects("pod-2", "v2"));
    for (const { agent } of Object.values(mesh.hosts)) agent.start();
    for (const host of Object.values(mesh.hosts)) await waitUntil(() => host.isReady(), { what: "the host to be ready", timeoutMs: 60_000 });
    await waitUntil(async () => (await ask("reviews.east-default")).every((name) => name.startsWith("pod-")), { what: "an answer", timeoutMs: 60_000 });
  });

  after(async () => {
    await mesh?.close();
    await new Promise((resolve) => wayOut.close(resolve));
    await api?.stop();
    rmSync(folder, { recursive: true });
  });

  function podObjects(name: string, version: string): KubernetesObject[] {
    const address = addresses[name] ?? "";
    return [pod(name, { addresses: [address], labels: { app: "reviews", version } }), slice(`reviews-${name}`, "reviews", [{ address, pod: { name, uid: "" } }])];
  }

  /** Who answers, or with which status. */
  async function ask(authority: string, headers: Record<string, string> = {}, service = "east-default/reviews"): Promise<string[]> {
    const host = await mesh.vip(service);
    const answers = await mesh.http("vm", { uid: WEB_UID, mode: "http1", host, port: 80, authority, headers, requests: 8 });
    return answers.map(({ body, status, error }) => body?.name ?? String(status ?? error));
  }

  const sorted = (names: readonly string[]): string[] => [...new Set(names)].sort();

  for (const authority of ["reviews.east-default", "reviews.east-default.svc.mesh.internal", "reviews.default.svc.cluster.local"]) {
    it(`reaches its pods as ${authority}`, async () => {
      await waitUntil(async () => sorted(await ask(authority)).join() === "pod-1,pod-2", { what: "both pods" });
    });
  }

  it("is routed as the cluster's VirtualService says", async () => {
    const subset = (name: string) => ({ route: [{ destination: { host: "reviews.default.svc.cluster.local", subset: name } }] });
    const objects = [
      istio("DestinationRule", "reviews", { host: "reviews", subsets: [{ name: "v1", labels: { version: "v1" } }, { name: "v2", labels: { version: "v2" } }] }, { namespace: "default" }),
      istio("VirtualService", "reviews", { hosts: ["reviews"], http: [{ match: [{ headers: { "x-version": { exact: "v2" } } }], ...subset("v2") }, subset("v1")] }, { namespace: "default" }),
    ];
    await api.apply(...objects);
    await waitUntil(async () => sorted(await ask("reviews.east-default")).join() === "pod-1", { what: "the first pod alone" });
    assert.deepEqual(sorted(await ask("reviews.default.svc.cluster.local", { "x-version": "v2" })), ["pod-2"]);
    await api.remove(...objects);
    await waitUntil(async () => sorted(await ask("reviews.east-default")).join() === "pod-1,pod-2", { what: "both pods again" });
  });

  it("meets the policies of the cluster's root namespace where the cluster says what a host runs, and not elsewhere", async () => {
    const name = "old.east-default.svc.mesh.internal";
    const old = (): Promise<string[]> => ask(name, {}, `east-default/${name}`);
    const own = (): Promise<string[]> => ask("own.shop", {}, "shop/own");
    await waitUntil(async () => sorted(await old()).join() === "old" && sorted(await own()).join() === "own", { what: "both workloads" });
    const policy = istio("AuthorizationPolicy", "nobody", { action: "DENY", rules: [{ to: [{ operation: { methods: ["GET"] } }] }] }, { namespace: "istio-system" });
    await api.apply({ apiVersion: "v1", kind: "Namespace", metadata: { name: "istio-system" } }, policy);
    await waitUntil(async () => sorted(await old()).join() === "403", { what: "the denial" });
    assert.deepEqual(sorted(await own()), ["own"]);
    await api.remove(policy);
    await waitUntil(async () => sorted(await old()).join() === "old", { what: "its end" });
  });

  it("loses a pod without a failed request", async () => {
    const [, last] = podObjects("pod-2", "v2");
    assert.ok(last !== undefined);
    const { endpoints, ...rest } = last;
    await api.apply({ ...rest, endpoints: (endpoints as object[]).map((endpoint) => ({ ...endpoint, conditions: { ready: false, serving: true, terminating: true } })) });
    const all = new Set<string>();
    await waitUntil(
      async () => {
        const names = sorted(await ask("reviews.east-default"));
        for (const name of names) all.add(name);
        return names.join() === "pod-1";
      },
      { what: "the other pod alone" },
    );
    assert.deepEqual([...all].filter((name) => !name.startsWith("pod-")), []);
  });
});
