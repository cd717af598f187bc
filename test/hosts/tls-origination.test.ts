import assert from "node:assert/strict";
import { mkdtemp, chmod, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type LiveMesh, startLiveMesh } from "../support/live-mesh.ts";
import type { HttpAnswer } from "../support/mesh-scenario.ts";
import type { LabHost } from "../support/network-lab.ts";
import { createTestAuthority } from "../support/test-authority.ts";
import { waitUntil } from "../support/wait-until.ts";

const WEB_UID = 2_001;
const NAME = "payments.example";
const TLS_PORT = 8_443;

const GROUP = `apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: web, namespace: shop}
spec: {template: {serviceAccount: web}}
`;

/** Says by which name it was called, in TLS and in HTTP. */
const SERVER = `
const { key, cert, port } = JSON.parse(process.argv[1]);
require("node:https").createServer({ key, cert }, (request, response) => {
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify({ name: request.socket.servername + " " + request.headers.host }));
}).listen(port, "::", () => console.log("listening"));
`;

describe("TLS to who is not in the mesh (real control plane, agent and Envoy)", function () {
  this.timeout(180_000);
  let folder = "";
  let mesh: LiveMesh;
  let server: LabHost;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "ironmesh-tls-"));
    await chmod(folder, 0o755);
    const authority = createTestAuthority();
    await writeFile(join(folder, "ca.pem"), authority.root);
    mesh = await startLiveMesh({
      hosts: { a: [{ name: "web", group: "shop/web", uid: WEB_UID }] },
      yaml: GROUP,
      trustedRoots: [folder],
      beside: {
        hosts: ["payments"],
        async prepare({ payments }) {
          assert.ok(payments !== undefined);
          server = payments;
          const { certificateChain, privateKey } = authority.mintNamed(NAME);
          const application = payments.spawn(process.execPath, ["-e", SERVER, JSON.stringify({ cert: certificateChain, key: privateKey.revealText(), port: TLS_PORT })]);
          await waitUntil(() => application.output().includes("listening"), { what: "payments to listen" });
          return [];
        },
      },
    });
    await mesh.configure("payments.yaml", payments(NAME));
    mesh.hosts["a"]?.agent.start();
    await waitUntil(() => mesh.hosts["a"]?.isReady(), { what: "the host to be ready", intervalMs: 200 });
  });

  after(async () => {
    await mesh.close();
    await rm(folder, { recursive: true });
  });

  const call = async (): Promise<HttpAnswer | undefined> =>
    (await mesh.http("a", { uid: WEB_UID, mode: "http1", host: server.addresses.v4, port: 80, authority: NAME }))[0];

  it("is spoken by Envoy in the place of a caller that speaks plain HTTP, where a DestinationRule says so", async () => {
    await waitUntil(async () => (await call())?.status === 200, { what: "payments to answer", intervalMs: 200 });
    assert.equal((await call())?.body?.name, `${NAME} ${NAME}`);
  });

  it("goes to nobody else: a certificate of another name is refused", async () => {
    await mesh.configure("payments.yaml", payments("other.example"));
    await waitUntil(async () => (await call())?.status === 503, { what: "the other name to be expected", intervalMs: 200 });
    await mesh.configure("payments.yaml", payments(NAME));
    await waitUntil(async () => (await call())?.status === 200, { what: "payments to answer again", intervalMs: 200 });
  });

  /** @param name that its certificate must have */
  function payments(name: string): string {
    return `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: payments, namespace: shop}
spec:
  hosts: [${NAME}]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: ${server.addresses.v4}, ports: {http: ${TLS_PORT}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: payments, namespace: shop}
spec:
  host: ${NAME}
  trafficPolicy: {tls: {mode: SIMPLE, caCertificates: ${folder}/ca.pem, sni: ${NAME}, subjectAltNames: [${name}]}}
`;
  }
});
