import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { JournalView } from "../../discovery/http/api.ts";
import { type LiveHost, type LiveMesh, startLiveMesh } from "../support/live-mesh.ts";
import { callerOf } from "../support/mesh-callers.ts";
import { identityOf, type HttpAnswer } from "../support/mesh-scenario.ts";
import { networkState } from "../support/network-state.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { waitUntil } from "../support/wait-until.ts";

const UID = { web: 2_001, reviews: 2_002 } as const;
const MESH = `
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: default}
spec: {selector: {app: reviews}, ports: [{name: http, port: 8080, targetPort: 9080}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: reviews, namespace: default}
spec: {metadata: {labels: {app: reviews}}, template: {serviceAccount: reviews}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: web, namespace: default}
spec: {template: {serviceAccount: web}}
`;

/** What appears in the state directory while a host joins and its first rules are applied, each a moment to be killed at. */
const MILESTONES = [
  ["join-key.json", "host.json", "capture-reverter/pending"],
  ["workloads", "last-known-good", "capture.json"],
] as const;

const MODES = ["STRICT", "PERMISSIVE"] as const;
type Mode = (typeof MODES)[number];

/** It decides about a rule in the kernel (who gets to the port around the proxy) and about Envoy's listener. */
function peerAuthentication(mode: Mode): string {
  return `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: default}
spec: {mtls: {mode: ${mode}}}
`;
}

describe("an agent, killed at any moment", function () {
  this.timeout(300_000);
  const random = seededRandom();
  let mesh: LiveMesh;
  let host: LiveHost;
  let vip = "";
  let untouched = "";
  const snapshots = new Map<Mode, string>();
  let mode: Mode = "STRICT";
  let envoyPid: number | undefined;

  before(async () => {
    mesh = await startLiveMesh({
      hosts: { a: [{ name: "reviews", group: "default/reviews", uid: UID.reviews, http: [9_080] }], b: [{ name: "web", group: "default/web", uid: UID.web }] },
      yaml: MESH,
    });
    await mesh.configure("peers.yaml", peerAuthentication(mode));
    host = mesh.hosts["a"] as LiveHost;
    untouched = await networkState(host.lab);
    mesh.hosts["b"]?.agent.start();
    host.agent.start();
    await waitUntil(async () => (await host.isReady()) && (await mesh.hosts["b"]?.isReady()), { what: "both hosts to be ready", intervalMs: 200 });
    vip = await mesh.vip("default/reviews");
    for (const one of MODES) {
      await changeTo(one);
      const other = [...snapshots.values()];
      // What the rules are like when nobody is killed. The fail-closed rule alone tells the two apart.
      const snapshot = await waitUntil(async () => differing(await networkState(host.lab), [untouched, ...other]), { what: `the rules for ${one}`, intervalMs: 200 });
      snapshots.set(one, snapshot ?? "");
    }
  });
  afterEach(async function () {
    if (this.currentTest?.state === "passed") return;
    console.error(`    IRONMESH_SEED=${random.seed}; the end of the agent's log:\n${(await readFile(host.agent.logPath, "utf8")).slice(-4_000)}`);
  });
  after(() => mesh.close());

  const changeTo = async (next: Mode): Promise<void> => {
    mode = next;
    await mesh.configure("peers.yaml", peerAuthentication(next));
  };
  const killAfter = async (least: number, most: number): Promise<void> => {
    await sleep(random.between(least, most));
    assert.ok(host.agent.isRunning(), "the agent ended by itself");
    await host.agent.kill();
  };
  const killSoonAfter = async (file: string): Promise<void> => {
    await waitUntil(() => existsSync(join(host.folder, "state", file)) || !host.agent.isRunning(), { what: `${file} to appear`, intervalMs: 5 });
    await killAfter(0, 150);
  };
  const call = async (): Promise<HttpAnswer | undefined> => (await mesh.http("b", { uid: UID.web, mode: "http1", host: vip, port: 8_080, authority: "reviews.default" }))[0];

  /** The agent is started, and must bring everything into the one right state by itself. */
  const comesBack = async (): Promise<void> => {
    host.agent.start();
    await waitUntil(async () => !host.agent.isRunning() || (await host.isReady()), { what: "the agent to be ready again", intervalMs: 200 });
    assert.ok(host.agent.isRunning(), "the agent ended by itself");
    await waitUntil(async () => (await networkState(host.lab)) === snapshots.get(mode), { what: `exactly the rules for ${mode}`, intervalMs: 200 }).catch(async (failure: unknown) => {
      assert.equal(await networkState(host.lab), snapshots.get(mode));
      throw failure;
    });
    const envoys = await waitUntil(async () => {
      const found = (await host.processes()).filter(({ name }) => name === "envoy");
      return found.length === 1 ? found : undefined;
    }, { what: "one Envoy and no second one", intervalMs: 200 });
    const { envoy } = (await waitUntil(() => host.status(), { what: "the status" })) ?? {};
    assert.equal(envoy?.pid, envoys?.[0]?.pid);
    if (envoyPid !== undefined) assert.deepEqual([envoy?.pid, envoy?.adopted], [envoyPid, true], "the Envoy that served was replaced");
    envoyPid = envoy?.pid;
    const answer = await waitUntil(async () => {
      const given = await call();
      return given?.status === 200 ? given : undefined;
    }, { what: "reviews to answer" });
    assert.equal(callerOf(answer ?? {}), identityOf("web"));
  };

  it("joins once, whenever that was interrupted, and leaves the host as it was", async () => {
    for (const milestones of MILESTONES) {
      await host.agent.leave();
      assert.equal(await networkState(host.lab), untouched);
      await host.forget();
      envoyPid = undefined;
      const before = await joins();
      for (const milestone of milestones) {
        host.agent.start();
        await killSoonAfter(milestone);
      }
      await comesBack();
      assert.equal(await joins(), before + 1);
    }
  });

  it("adopts its Envoy and its rules, whenever its start was interrupted", async () => {
    for (let count = 0; count < 3; count += 1) {
      await host.agent.kill();
      host.agent.start();
      await killAfter(200, 2_500);
      await comesBack();
    }
  });

  it("follows a change that it was killed in", async () => {
    for (let count = 0; count < 3; count += 1) {
      await changeTo(mode === "STRICT" ? "PERMISSIVE" : "STRICT");
      await killAfter(0, 700);
      await comesBack();
    }
  });

  it("leaves nobody behind who would still change the rules", async () => {
    await waitUntil(async () => (await host.processes()).every(({ name }) => ["node", "envoy"].includes(name)), { what: "the guards of killed agents to end", intervalMs: 500 });
    assert.equal(await networkState(host.lab), snapshots.get(mode));
    assert.equal((await call())?.status, 200);
    await host.agent.leave();
    assert.equal(await networkState(host.lab), untouched);
    assert.deepEqual((await host.processes()).map(({ name }) => name), ["node"], "only the application stays");
  });

  async function joins(): Promise<number> {
    const { entries } = (await mesh.api.get("/api/v1/journal?last=10000")) as JournalView;
    return entries.filter(({ type, facts }) => type === "host-joined" && facts["reportedName"] === "a").length;
  }
});

function differing(snapshot: string, others: readonly string[]): string | undefined {
  return others.includes(snapshot) ? undefined : snapshot;
}
