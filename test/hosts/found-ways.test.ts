import assert from "node:assert/strict";
import { type LiveMesh, startLiveMesh } from "../support/live-mesh.ts";
import { waitUntil } from "../support/wait-until.ts";

const WEB_UID = 2_001;
const NAME = "db.legacy.svc.mesh.internal";

const YAML = `apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: web, namespace: shop}
spec: {template: {serviceAccount: web}}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {selector: {app: db}, ports: [{name: http, port: 80, targetPort: 8080}]}
`;

/** Envoy resolves it, although there is nothing to ask anybody. */
const byName = (address: string): string => `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db, namespace: legacy}
spec: {hosts: [${NAME}], resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}], endpoints: [{address: ${address}}]}
`;

const byAddress = (address: string): string => `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: db-1, namespace: shop}
spec: {address: ${address}, labels: {app: db}}
`;

const DESCRIBED = {
  placed: /found by address; 1 of 2 get traffic[^]*plain +no +its endpoints are found by DNS: they serve only while none/,
  named: /found by DNS; 1 of 1 get traffic/,
} as const;

describe("a joined service of which one member is found by DNS (real control plane, agent and Envoy)", function () {
  this.timeout(180_000);
  let mesh: LiveMesh;
  const addresses: Record<string, string> = {};

  before(async () => {
    mesh = await startLiveMesh({
      hosts: { vm: [{ name: "web", group: "shop/web", uid: WEB_UID }] },
      yaml: YAML,
      sameness: [{ of: [`static/legacy/${NAME}`, "static/shop/db"], allowPlaintext: true }],
      beside: {
        hosts: ["named", "placed"],
        async prepare(hosts) {
          for (const name of ["named", "placed"]) {
            await hosts[name]?.startApplication({ name, uid: 65_534, listeners: [{ port: 8_080, kind: "http" }] });
            addresses[name] = hosts[name]?.addresses.v4 ?? "";
          }
          return [];
        },
      },
    });
    await mesh.configure("named.yaml", byName(addresses["named"] ?? ""));
    mesh.hosts["vm"]?.agent.start();
    await waitUntil(() => mesh.hosts["vm"]?.isReady(), { what: "the host to be ready", intervalMs: 200 });
  });

  after(() => mesh.close());

  /** Everybody who answered until one alone does, and whatever else came. */
  async function untilAlone(name: string): Promise<string[]> {
    const all = new Set<string>();
    await waitUntil(
      async () => {
        const host = await mesh.vip(`legacy/${NAME}`);
        const answers = await mesh.http("vm", { uid: WEB_UID, mode: "http1", host, port: 80, authority: NAME, requests: 50 });
        const now = new Set(answers.map(({ body, status, error }) => body?.name ?? String(status ?? error)));
        for (const one of now) all.add(one);
        return [...now].join() === name;
      },
      { what: `${name} alone`, timeoutMs: 60_000 },
    );
    return [...all].sort();
  }

  it("goes to the addresses of the others when there are some, and back to the name, without a failed request", async () => {
    await waitUntil(async () => (await untilAlone("named")).join() === "named", { what: "the service to be there" });
    for (const [name, placed] of [["placed", byAddress(addresses["placed"] ?? "")], ["named", undefined]] as const) {
      // Asked while it changes.
      const answered = untilAlone(name);
      await mesh.configure("placed.yaml", placed);
      assert.deepEqual((await answered).filter((one) => one !== "named" && one !== "placed"), []);
      assert.match(await mesh.ironmesh("describe", "service", NAME), DESCRIBED[name]);
    }
  });
});
