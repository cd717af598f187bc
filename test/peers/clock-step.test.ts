/** The wall clock of a control plane is set, by hours and days, while it reads a real Consul and a real Kubernetes and serves a host. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseAllDocuments } from "yaml";
import type { Daemon } from "../../demo/daemon.ts";
import type { EndpointView, HostView, RegistryView, ServiceView } from "../../discovery/http/api.ts";
import { ConsulAgent } from "../support/consul-agent.ts";
import { consulPath } from "../support/consul.ts";
import { createFakeClock, fakeClockLibrary, type FakeClock } from "../support/fake-clock.ts";
import { KubernetesApi } from "../support/kubernetes-api.ts";
import { pod, service, slice, type KubernetesObject } from "../support/kubernetes-objects.ts";
import { kubernetesPrograms } from "../support/kubernetes.ts";
import { type LiveMesh, startLiveMesh } from "../support/live-mesh.ts";
import { waitUntil } from "../support/wait-until.ts";

const consul = consulPath();
const programs = kubernetesPrograms();
const library = fakeClockLibrary();
const missing = consul === undefined ? "no consul binary and no Go to build one" : programs === undefined ? "no kube-apiserver and etcd, and no Go to build them" : library === undefined ? "no libfaketime" : undefined;

const MANAGEMENT_TOKEN = "11111111-2222-3333-4444-555555555555";
const READING = 'service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }';
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

(missing === undefined ? describe : describe.skip)(`a control plane whose clock is set${missing === undefined ? "" : ` (${missing})`}`, function () {
  this.timeout(300_000);
  let folder: string;
  let clock: FakeClock;
  let agent: ConsulAgent;
  let api: KubernetesApi;
  let wayOut: Server;
  /** To the API server. */
  const ways = new Set<Socket>();
  let mesh: LiveMesh;
  const addresses: Record<string, string> = {};

  before(async () => {
    assert.ok(consul !== undefined && programs !== undefined && library !== undefined);
    folder = await mkdtemp(join(tmpdir(), "ironmesh-clock-"));
    clock = createFakeClock(library, folder);
    const [socket, wayOutSocket, tokenFile] = [join(folder, "consul.sock"), join(folder, "way-out"), join(folder, "token")];
    agent = await ConsulAgent.start({ path: consul, managementToken: MANAGEMENT_TOKEN, socket });
    await writeFile(tokenFile, (await agent.createToken(READING)).secret, { mode: 0o600 });
    api = await KubernetesApi.start(programs, { reader: ACCOUNT });
    await api.apply(...parseAllDocuments(readFileSync(join(import.meta.dirname, "..", "..", "docs", "kubernetes", "rbac.yaml"), "utf8")).map((document) => document.toJS() as KubernetesObject));
    wayOut = createServer((incoming) => {
      const outgoing = connect(api.port, "127.0.0.1");
      ways.add(incoming);
      incoming.once("close", () => ways.delete(incoming));
      for (const [from, to] of [[incoming, outgoing], [outgoing, incoming]] as const) {
        from.pipe(to);
        from.on("error", () => to.destroy());
        from.on("close", () => to.destroy());
      }
    });
    await new Promise<void>((resolve) => wayOut.listen(wayOutSocket, resolve));
    mesh = await startLiveMesh({
      hosts: { vm: [{ name: "web", group: "shop/web", uid: WEB_UID }], server: [{ name: "own", group: "shop/own", uid: 1_003, http: [9_090] }], late: [{ name: "late", group: "shop/web", uid: 1_004 }] },
      yaml: YAML,
      controlPlaneEnv: clock.env,
      beside: {
        hosts: ["db-1", "db-2", "pod-1"],
        async prepare(hosts, control) {
          for (const name of ["db-1", "db-2", "pod-1"]) {
            await hosts[name]?.startApplication({ name, uid: 65_534, listeners: [{ port: 8_080, kind: "http" }] });
            addresses[name] = hosts[name]?.addresses.v4 ?? "";
          }
          const forward = control.spawn(process.execPath, [FORWARD, String(api.port), wayOutSocket]);
          await waitUntil(() => forward.output().includes("listening"), { what: "the way to the API server" });
          return [{ kind: "consul", address: `unix://${socket}`, tokenFile }, { kind: "kubernetes", name: "east", kubeconfig: await api.kubeconfig("reader") }];
        },
      },
    });
    const address = addresses["pod-1"] ?? "";
    await api.apply(service("reviews"), pod("pod-1", { addresses: [address], labels: { app: "reviews" } }), slice("reviews-1", "reviews", [{ address, pod: { name: "pod-1", uid: "" } }]));
    await agent.register(...["db-1", "db-2"].map((name) => ({ ID: name, Name: "db", Address: addresses[name] ?? "", Port: 8_080, Meta: { protocol: "http", "service-port": "80" }, Check: { TTL: "24h", Name: "probe", Status: "passing" } })));
    for (const name of ["vm", "server"]) mesh.hosts[name]?.agent.start();
    for (const name of ["vm", "server"]) await waitUntil(() => mesh.hosts[name]?.isReady(), { what: "the host to be ready", timeoutMs: 60_000 });
    await waitUntil(async () => (await answers()).join() === "db-1,db-2,own,pod-1", { what: "answers of everybody", timeoutMs: 60_000 });
  });

  after(async () => {
    await mesh?.close();
    await new Promise((resolve) => (wayOut === undefined ? resolve(undefined) : wayOut.close(resolve)));
    await api?.stop();
    await agent?.stop();
    await rm(folder, { recursive: true });
  });

  afterEach(async function () {
    if (this.currentTest?.state !== "passed") console.error(`    the end of its log:\n${(await readFile(mesh.controlPlane.logPath, "utf8")).slice(-3_000)}`);
  });

  /** Who answers to the host's workload, of everything that there is. */
  async function answers(): Promise<string[]> {
    const names = new Set<string>();
    for (const [authority, key] of [["db.consul", "consul/db"], ["reviews.east-default", "east-default/reviews"], ["own.shop", "shop/own"]] as const) {
      const host = await mesh.vip(key);
      for (const { body, status, error } of await mesh.http("vm", { uid: WEB_UID, mode: "http1", host, port: 80, authority, headers: {}, requests: 24 })) names.add(body?.name ?? String(status ?? error));
    }
    return [...names].sort();
  }

  const endpoints = async (): Promise<readonly EndpointView[]> => (await mesh.api.get("/api/v1/endpoints")) as EndpointView[];
  const log = (): Promise<string> => readFile(mesh.controlPlane.logPath, "utf8");
  const late = (): Daemon => {
    const host = mesh.hosts["late"];
    assert.ok(host !== undefined);
    return host.agent;
  };
  const stepsIn = (text: string): number[] => [...text.matchAll(/"stepSeconds":(-?\d+)/g)].map(([, seconds]) => Math.round(Number(seconds) / 3_600));

  /** Sets the clock, and looks on until the control plane has said so: nothing may change. */
  async function set(hours: number, step: number): Promise<void> {
    const before = await endpoints();
    const told = stepsIn(await log()).length;
    clock.set(hours);
    // What is not as it was ends the wait.
    await waitUntil(async () => stepsIn(await log()).length > told || (await stays(before).then(() => false, () => true)), { what: `the step by ${step} h to be seen` });
    await stays(before);
    assert.deepEqual(stepsIn(await log()).slice(told), [step]);
    await stays(before);
    assert.deepEqual(await answers(), ["db-1", "db-2", "own", "pod-1"]);
  }

  async function stays(before: readonly EndpointView[]): Promise<void> {
    assert.deepEqual(await endpoints(), before);
    for (const { name, state } of (await mesh.api.get("/api/v1/hosts")) as HostView[]) assert.equal(state, "connected", name);
    for (const { name, synced, ageSeconds = 0 } of (await mesh.api.get("/api/v1/registries")) as RegistryView[]) assert.deepEqual([synced, ageSeconds < 120], [true, true], `${name} is ${ageSeconds} s old`);
  }

  /** What is registered now is seen, also by a watch that is opened now. */
  async function follows(name: string, isCut: boolean): Promise<void> {
    if (isCut) for (const way of ways) way.destroy();
    await agent.register({ ID: name, Name: name, Address: "10.99.0.1", Port: 80 });
    await api.apply(service(name));
    await waitUntil(
      async () => {
        const services = ((await mesh.api.get("/api/v1/services")) as ServiceView[]).map(({ namespace, name: of }) => `${namespace}/${of}`);
        return services.includes(`consul/${name}`) && services.includes(`east-default/${name}`);
      },
      { what: "both registries to be followed" },
    );
  }

  // Of the API server's certificate, which is new, no connection can be made in the past.
  for (const [hours, step, isCut] of [[3, 3, true], [0, -3, true], [-3, -3, false], [0, 3, true]] as const) {
    it(`keeps and follows everything when it is set by ${step} h to ${hours} h beside the true time`, async () => {
      await set(hours, step);
      await follows(`at-${hours + 10}-by-${step + 10}`, isCut);
    });
  }

  it("refuses a token that has ended by its clock", async () => {
    await set(3, 3);
    late().start();
    await waitUntil(async () => /the token has expired/.test(await readFile(late().logPath, "utf8")), { what: "the refusal" });
    await late().stop();
    await set(0, -3);
  });

  it("keeps who is there when it is set beyond the life of all certificates, says so, and lets others in as soon as it is right", async () => {
    await set(31 * 24, 31 * 24);
    late().start();
    await waitUntil(async () => /certificate is not yet valid/.test(await readFile(late().logPath, "utf8")), { what: "the refusal of the control plane by a host whose clock is right" });
    await set(0, -31 * 24);
    await waitUntil(() => mesh.hosts["late"]?.isReady(), { what: "that host to be in the mesh, with the token that had been refused" });
    assert.deepEqual(await answers(), ["db-1", "db-2", "own", "pod-1"]);
  });
});
