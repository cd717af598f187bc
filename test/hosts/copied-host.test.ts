import assert from "node:assert/strict";
import { cp, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import type { EndpointView, HostView } from "../../discovery/http/api.ts";
import { type LiveHost, type LiveMesh, startLiveMesh } from "../support/live-mesh.ts";
import { waitUntil } from "../support/wait-until.ts";

const UID = { web: 2_001, reviews: 2_002 } as const;
const MESH = `
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop}
spec: {selector: {app: reviews}, ports: [{name: http, port: 8080, targetPort: 9080}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: reviews, namespace: shop}
spec: {metadata: {labels: {app: reviews}}, template: {serviceAccount: reviews}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: web, namespace: shop}
spec: {template: {serviceAccount: web}}
`;

describe("a host that is a copy of another (real control plane, agents and Envoys)", function () {
  this.timeout(180_000);
  let mesh: LiveMesh;
  let original: LiveHost;
  let copy: LiveHost;
  let vip = "";

  before(async () => {
    const reviews = [{ name: "reviews", group: "shop/reviews", uid: UID.reviews, http: [9_080] }];
    mesh = await startLiveMesh({ hosts: { a: [{ name: "web", group: "shop/web", uid: UID.web }], b: reviews, c: reviews }, yaml: MESH });
    const { a, b, c } = mesh.hosts;
    assert.ok(a !== undefined && b !== undefined && c !== undefined);
    [original, copy] = [b, c];
    for (const host of [a, original]) {
      host.agent.start();
      await waitUntil(() => host.isReady(), { what: "the agents to be ready", intervalMs: 200 });
    }
    vip = await mesh.vip("shop/reviews");
  });
  after(() => mesh.close());

  const logOf = ({ folder }: LiveHost): Promise<string> => readFile(join(folder, "agent.log"), "utf8");
  const addresses = async (): Promise<string[]> => ((await mesh.api.get("/api/v1/endpoints")) as EndpointView[]).map(({ address }) => address);
  const serves = async (host: LiveHost): Promise<boolean> => (await addresses()).join() === host.lab.addresses.v4;
  const issues = async (): Promise<readonly string[]> => ((await mesh.api.get("/api/v1/hosts")) as HostView[]).find(({ workloads }) => workloads.some(({ name }) => name === "reviews"))?.issues ?? [];
  const isAnswered = async (): Promise<boolean> => (await mesh.http("a", { uid: UID.web, mode: "http1", host: vip, port: 8_080, authority: "reviews.shop" }))[0]?.status === 200;

  it("is quarantined while the other one lives, says so everywhere, and takes nothing from it", async () => {
    await waitUntil(() => serves(original), { what: "the original to serve" });
    const before = await logOf(original);
    await rm(join(copy.folder, "state"), { recursive: true, force: true });
    await cp(join(original.folder, "state"), join(copy.folder, "state"), { recursive: true });
    copy.agent.start();
    await waitUntil(async () => (await issues()).length > 0, { what: "the copy to be seen", intervalMs: 200 });
    assert.match((await issues()).join(), new RegExp(`MESH_HOST_TWICE: a second agent of it, at ${copy.lab.addresses.v4}, is quarantined .*${original.lab.addresses.v4}, lives`));
    assert.match(await mesh.ironmesh("get", "hosts"), /MESH_HOST_TWICE.*empty its state directory/);
    assert.match(await mesh.ironmesh("get", "journal"), /caller-refused.*MESH_HOST_TWICE/);
    await waitUntil(async () => (await logOf(copy)).includes("the control plane refuses this host"), { what: "the copy to know" });
    assert.match(await logOf(copy), /MESH_HOST_TWICE: host .* enrol it with a token of its own/);
    await waitUntil(async () => (await copy.status())?.openTasks.includes("quarantine: another agent speaks for this host"), { what: "the copy to say so" });
    assert.equal(await copy.isReady(), false);
    assert.match(await readFile(mesh.controlPlane.logPath, "utf8"), /a second agent of a host is quarantined/);

    assert.deepEqual(await addresses(), [original.lab.addresses.v4]);
    assert.ok(await isAnswered());
    assert.doesNotMatch((await logOf(original)).slice(before.length), /refuses this host|cannot be reached/);
  });

  it("is let in when the other one dies, and that one is the copy then", async () => {
    await original.agent.kill();
    await waitUntil(() => serves(copy), { what: "the copy to serve" });
    await waitUntil(() => copy.isReady(), { what: "the copy to be ready", intervalMs: 200 });
    await waitUntil(isAnswered, { what: "an answer of the copy" });
    original.agent.start();
    await waitUntil(async () => (await original.status())?.openTasks.some((task) => task.startsWith("quarantine")), { what: "the other one to be kept out", intervalMs: 200 });
    assert.deepEqual(await addresses(), [copy.lab.addresses.v4]);
  });

  it("holds nobody's place when it lost its power: what answers no more is not waited for", async () => {
    await copy.lab.run("ip", ["link", "set", "eth0", "down"]);
    await waitUntil(() => serves(original), { what: "the original to serve again" });
    await waitUntil(isAnswered, { what: "an answer of the original" });
  });
});
