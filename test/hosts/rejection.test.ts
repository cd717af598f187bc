import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { ProxyView } from "../../discovery/http/api.ts";
import { type LiveMesh, startLiveMesh } from "../support/live-mesh.ts";
import type { HttpAnswer } from "../support/mesh-scenario.ts";
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

/** Answers say which revision of it is in force. */
function reviews(revision: string, match: string): string {
  return `# Routes of reviews.
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: shop}
spec:
  hosts: [reviews]
  http:
  - match: [{uri: {regex: '${match}'}}]
    headers: {response: {set: {x-revision: ${revision}}}}
    route: [{destination: {host: reviews}}]
`;
}

/** Sound RE2, and more of it than an Envoy takes: only RE2 itself knows. */
const TOO_LARGE = String.raw`/\pL{1000}`.repeat(6);

function externalApi(caFile: string): string {
  return `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: payments, namespace: shop}
spec:
  hosts: [payments.example]
  ports: [{number: 443, name: http, protocol: HTTP}]
  resolution: DNS
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: payments, namespace: shop}
spec:
  host: payments.example
  trafficPolicy: {tls: {mode: SIMPLE${caFile}}}
`;
}

describe("a rejection (real control plane, agents and Envoys)", function () {
  this.timeout(180_000);
  let mesh: LiveMesh;
  let vip = "";

  before(async () => {
    mesh = await startLiveMesh({
      hosts: { a: [{ name: "web", group: "shop/web", uid: UID.web }], b: [{ name: "reviews", group: "shop/reviews", uid: UID.reviews, http: [9_080] }] },
      yaml: MESH,
    });
    await mesh.configure("reviews.yaml", reviews("good", "/.*"));
    for (const host of Object.values(mesh.hosts)) host.agent.start();
    for (const [name, host] of Object.entries(mesh.hosts)) {
      await waitUntil(() => host.isReady(), { what: `${name} to be ready`, intervalMs: 200 }).catch(async (failure: unknown) => {
        throw new Error(await readFile(join(host.folder, "agent.log"), "utf8"), { cause: failure });
      });
    }
    vip = await mesh.vip("shop/reviews");
    await waitUntil(async () => (await revision()) === "good", { what: "the first revision to be in force" });
  });
  after(() => mesh.close());

  const call = async (): Promise<HttpAnswer | undefined> => (await mesh.http("a", { uid: UID.web, mode: "http1", host: vip, port: 8_080, authority: "reviews.shop" }))[0];
  const revision = async (): Promise<string> => {
    const answer = await call();
    return answer?.status === 200 ? (answer.headers?.["x-revision"] ?? "none") : `status ${answer?.status ?? answer?.error}`;
  };
  const statusOf = async (host: string, type: string): Promise<ProxyView["types"][number] | undefined> =>
    (JSON.parse(await mesh.ironmesh("proxy-status", "-o", "json")) as ProxyView[]).find(({ hostName }) => hostName === host)?.types.find((entry) => entry.type === type);
  const waitForState = async (host: string, type: string, state: string): Promise<Exclude<Awaited<ReturnType<typeof statusOf>>, undefined>> => {
    const entry = await waitUntil(async () => {
      const entry = await statusOf(host, type);
      return entry?.state === state ? entry : undefined;
    }, { what: `the ${type} of ${host} to be ${state}`, intervalMs: 200 }).catch(async (failure: unknown) => {
      throw new Error(await mesh.ironmesh("proxy-status"), { cause: failure });
    });
    assert.ok(entry !== undefined);
    return entry;
  };

  it("of Envoy itself shows in its own words with the YAML behind it, what was good stays in force, and it goes when the YAML is mended", async () => {
    await mesh.configure("reviews.yaml", reviews("bad", TOO_LARGE));
    const refused = await waitForState("a", "routes", "REJECTED");
    assert.match(refused.error, /RE2 program size of \d+ > max program size of \d+/);
    const position = `${mesh.configPath("reviews.yaml")}:2`;
    assert.deepEqual(refused.causes, [{ resource: "VirtualService/shop/reviews", position }]);
    const table = await mesh.ironmesh("proxy-status");
    assert.match(table, /^HOST .* ROUTES/m);
    assert.match(table, /^a .*REJECTED \(\d+\)/m);
    assert.ok(table.includes(`\na rejected routes (from VirtualService/shop/reviews at ${position}):\n  ${refused.error}`), table);
    for (let count = 0; count < 3; count += 1) assert.equal(await revision(), "good");
    // Both in the log: the agent's own, and the control plane's.
    assert.match(await readFile(join(mesh.hosts["a"]?.folder ?? "", "agent.log"), "utf8"), /envoy refuses its configuration: .*RE2 program size/);
    const log = (await readFile(mesh.controlPlane.logPath, "utf8")).split("\n").find((line) => line.includes("an envoy rejected a resource"));
    assert.ok(log?.includes(JSON.stringify(refused.causes)), log);

    await mesh.configure("reviews.yaml", reviews("mended", "/.*"));
    await waitForState("a", "routes", "SYNCED");
    assert.equal((await statusOf("a", "routes"))?.error, "");
    await waitUntil(async () => (await revision()) === "mended", { what: "the mended revision to be in force" });
    assert.doesNotMatch(await mesh.ironmesh("proxy-status"), /rejected/i);
  });

  it("leaves a new Envoy with what was good, whether it died alone or with its agent", async () => {
    const host = mesh.hosts["a"];
    assert.ok(host !== undefined);
    await mesh.configure("reviews.yaml", reviews("before", "/.*"));
    await waitUntil(async () => (await revision()) === "before", { what: "the last good revision" });
    // It is on disk once Envoy was well with it for a while.
    const generations = (): string[] => readdirSync(join(host.folder, "state", "last-known-good")).toSorted();
    const saved = generations();
    await waitUntil(() => generations().at(-1) !== saved.at(-1), { what: "the last good revision to be on disk" });
    await mesh.configure("reviews.yaml", reviews("bad", TOO_LARGE));
    const { error } = await waitForState("a", "routes", "REJECTED");

    for (const withAgent of [false, true]) {
      const envoy = (await host.processes()).find(({ name }) => name === "envoy");
      assert.ok(envoy !== undefined);
      if (withAgent) await host.agent.kill();
      process.kill(envoy.pid, "SIGKILL");
      if (withAgent) {
        await waitUntil(async () => !(await host.processes()).some(({ pid }) => pid === envoy.pid), { what: "the Envoy to be gone" });
        host.agent.start();
      }
      await waitUntil(async () => (await host.isReady()) && (await host.processes()).some(({ name, pid }) => name === "envoy" && pid !== envoy.pid), { what: "another Envoy", intervalMs: 200 });
      await waitUntil(async () => (await revision()) === "before", { what: "the last good revision to be served by a new Envoy" });
      assert.equal((await waitForState("a", "routes", "REJECTED")).error, error);
    }

    await mesh.configure("reviews.yaml", reviews("after", "/.*"));
    await waitForState("a", "routes", "SYNCED");
    await waitUntil(async () => (await revision()) === "after", { what: "the mended revision to be in force" });
  });

  it("of the agent shows in the same way, and keeps nothing else from arriving", async () => {
    await mesh.configure("payments.yaml", externalApi(", caCertificates: /etc/shadow"));
    const refused = await waitForState("a", "clusters", "REJECTED");
    assert.match(refused.error, /it reads the file \/etc\/shadow/);
    const position = `${mesh.configPath("payments.yaml")}:9`;
    assert.deepEqual(refused.causes, [{ resource: "DestinationRule/shop/payments", position }]);
    const table = await mesh.ironmesh("proxy-status");
    assert.ok(table.includes(`\na rejected clusters (from DestinationRule/shop/payments at ${position}):\n  ${refused.error}`), table);
    await mesh.configure("reviews.yaml", reviews("later", "/.*"));
    await waitUntil(async () => (await revision()) === "later", { what: "another change to be in force meanwhile" });

    await mesh.configure("payments.yaml", externalApi(""));
    await waitForState("a", "clusters", "SYNCED");
    assert.equal((await statusOf("a", "clusters"))?.error, "");
  });

  it("ends with the resource that was refused", async () => {
    await mesh.configure("reviews.yaml", reviews("bad", TOO_LARGE));
    await waitForState("a", "routes", "REJECTED");
    await mesh.configure("reviews.yaml", undefined);
    await waitForState("a", "routes", "SYNCED");
    await waitUntil(async () => (await revision()) === "none", { what: "the default route to be in force" });
  });
});
