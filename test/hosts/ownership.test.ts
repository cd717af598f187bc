import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { EndpointView } from "../../discovery/http/api.ts";
import { type LiveHost, type LiveMesh, startLiveMesh } from "../support/live-mesh.ts";
import type { LabProcess } from "../support/network-lab.ts";
import { waitUntil } from "../support/wait-until.ts";

const UID = { web: 2_001, reviews: 2_002, visitor: 2_003, stranger: 2_009 } as const;
const PORT = 9_080;
const CALLERS = { a: UID.web, b: UID.visitor } as const;
const MESH = `
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop}
spec: {selector: {app: reviews}, ports: [{name: http, port: 8080, targetPort: ${PORT}}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: reviews, namespace: shop}
spec: {metadata: {labels: {app: reviews}}, template: {serviceAccount: reviews, ports: {http: ${PORT}}}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: web, namespace: shop}
spec: {template: {serviceAccount: web}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: visitor, namespace: shop}
spec: {template: {serviceAccount: visitor}}
`;
/** Asks again on its one connection for each line of standard input. */
const KEPT_CLIENT = `
  const socket = require("node:net").connect({ host: process.argv[1], port: Number(process.argv[2]) });
  process.stdin.on("data", () => socket.write("GET / HTTP/1.1\\r\\nhost: reviews\\r\\n\\r\\n"));
  socket.on("data", (data) => process.stdout.write(data)).on("close", () => process.stdout.write("closed"));
`;
const APPLICATION = fileURLToPath(new URL("../support/mesh-application.mjs", import.meta.url));

describe("the port of a workload that another process listens on (real control plane, agents and Envoys)", function () {
  this.timeout(180_000);
  let mesh: LiveMesh;
  let vip = "";

  const host = (name: "a" | "b"): LiveHost => mesh.hosts[name] as LiveHost;
  const listen = async (name: "reviews" | "stranger"): Promise<LabProcess> => {
    const application = host("b").lab.spawn(process.execPath, [APPLICATION, JSON.stringify({ name, uid: UID[name], http: [PORT] })]);
    await waitUntil(() => application.output().includes("listening"), { what: `${name} to listen` });
    return application;
  };
  /** Who answers, or the status of nobody's answer. */
  const answerTo = async (from: "a" | "b"): Promise<string> => {
    const [answer] = await mesh.http(from, { uid: CALLERS[from], mode: "http1", host: vip, port: 8_080, authority: "reviews.shop" });
    return answer?.status === 200 ? (answer.body as { readonly name: string }).name : `${answer?.status ?? answer?.error}`;
  };
  const answers = async (): Promise<readonly string[]> => Promise.all([answerTo("a"), answerTo("b")]);
  const untilAnswered = (): Promise<unknown> => waitUntil(async () => (await answers()).every((name) => name === "reviews"), { what: "reviews to answer", intervalMs: 100 });
  const agentLog = (): Promise<string> => readFile(join(host("b").folder, "agent.log"), "utf8");
  const endpoint = async (): Promise<EndpointView> => {
    const [found] = (JSON.parse(await mesh.ironmesh("get", "endpoints", "shop/reviews", "-o", "json")) as EndpointView[]);
    assert.ok(found);
    return found;
  };
  const connectionsTo = (application: LabProcess): number => application.output().split("connection").length - 1;

  before(async () => {
    mesh = await startLiveMesh({
      hosts: {
        a: [{ name: "web", group: "shop/web", uid: UID.web }],
        b: [
          { name: "reviews", group: "shop/reviews", uid: UID.reviews },
          { name: "visitor", group: "shop/visitor", uid: UID.visitor },
        ],
      },
      yaml: MESH,
      // Chains that are replaced live for half of it: time to see that they hand nothing on.
      drainSeconds: 60,
    });
    for (const { agent } of Object.values(mesh.hosts)) agent.start();
    for (const [name, each] of Object.entries(mesh.hosts)) {
      await waitUntil(() => each.isReady(), { what: `${name} to be ready`, intervalMs: 200 }).catch(async (failure: unknown) => {
        throw new Error(await readFile(join(each.folder, "agent.log"), "utf8"), { cause: failure });
      });
    }
    vip = await mesh.vip("shop/reviews");
  });
  after(() => mesh?.close());
  afterEach(async function () {
    if (this.currentTest?.state === "failed") console.log(await agentLog());
  });

  it("withholds nothing while the workload ends and starts again, or has not started", async () => {
    for (let round = 0; round < 3; round += 1) {
      assert.ok((await answers()).every((answer) => answer === "503"));
      const reviews = await listen("reviews");
      await untilAnswered();
      await reviews.close();
    }
    assert.doesNotMatch(await agentLog(), /another process than the workload/);
    assert.equal((await endpoint()).detail, "");
  });

  it("gives a stranger nothing, says who it is, and serves the workload as soon as it is back", async () => {
    const reviews = await listen("reviews");
    await untilAnswered();
    const kept = host("a").lab.spawn(process.execPath, ["-e", KEPT_CLIENT, host("b").lab.addresses.v4, String(PORT)]);
    kept.child.stdin?.write("\n");
    await waitUntil(() => kept.output().includes('"reviews"'), { what: "the first answer on a connection that is kept" });
    await reviews.close();
    const stranger = await listen("stranger");
    await waitUntil(async () => (await endpoint()).health === "unhealthy", { what: "the workload to be unhealthy" });
    const { detail } = await endpoint();
    assert.match(detail, new RegExp(`^uid ${UID.stranger} \\(control group /.*, process \\d+\\) listens instead of the workload, on ${host("b").lab.addresses.v4}:${PORT}$`));
    assert.ok((await mesh.ironmesh("get", "endpoints")).includes(detail));
    await waitUntil(async () => (await answers()).every((answer) => answer !== "stranger"), { what: "the chain to be withheld" });
    const taken = connectionsTo(stranger);
    for (let call = 0; call < 5; call += 1) assert.ok(!(await answers()).includes("stranger"));

    const asked = kept.output().length;
    kept.child.stdin?.write("\n");
    await waitUntil(() => kept.output().length > asked, { what: "the second answer" });
    assert.match(kept.output().slice(asked), /^HTTP\/1\.1 503/, "on a connection of before");
    assert.equal(connectionsTo(stranger), taken);

    // Without a control plane, and for an agent that knows nothing of before.
    await mesh.controlPlane.stop();
    await host("b").agent.kill();
    host("b").agent.start();
    await waitUntil(() => host("b").isReady(), { what: "the next agent", intervalMs: 100 });
    await waitUntil(async () => (await host("b").status())?.configuration.envoyInSync === true, { what: "its Envoy to be told" });
    for (let call = 0; call < 5; call += 1) assert.ok(!(await answers()).includes("stranger"));
    assert.equal(connectionsTo(stranger), taken);

    await stranger.close();
    assert.ok((await answers()).every((answer) => answer === "503"));
    const again = await listen("reviews");
    await waitUntil(async () => (await answerTo("b")) === "reviews", { what: "reviews to answer its neighbour", intervalMs: 100 });
    mesh.controlPlane.start();
    await untilAnswered();
    await waitUntil(async () => (await endpoint()).detail === "", { what: "the workload to be well" });
    await again.close();
  });
});
