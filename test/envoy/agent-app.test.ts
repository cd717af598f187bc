import assert from "node:assert/strict";
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";

import { connectAdmin } from "../../agent/admin.ts";
import { startAgent } from "../../agent/app.ts";
import type { BoundAgent } from "../../agent/app.ts";
import { parseAgentConfig } from "../../agent/config.ts";
import { silentLogger } from "../../base/logger.ts";
import type { Logger } from "../../base/logger.ts";
import { startControlPlane } from "../../cli/control-plane/app.ts";
import type { BoundControlPlane } from "../../cli/control-plane/app.ts";
import { controlPlaneSchema } from "../../cli/control-plane/config.ts";
import { envoyPath } from "../support/envoy.ts";
import { waitUntil } from "../support/wait-until.ts";
import { temporaryDir } from "./agent-holder.ts";

const MESH = `
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: reviews, namespace: shop}
spec:
  metadata: {labels: {app: reviews}}
  template: {serviceAccount: reviews, ports: {http: 18080}}
---
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop}
spec:
  selector: {app: reviews}
  ports: [{name: http, port: 80, targetPort: 18080}]
`;

/** Asks over the control plane's own API socket. */
function ask(socketPath: string, method: string, path: string, body?: unknown): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ socketPath, method, path, headers: { "content-type": "application/json" } }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => (text += chunk));
      response.once("end", () => {
        if (response.statusCode === 200) resolve(JSON.parse(text));
        else reject(new Error(`${response.statusCode} ${text}`));
      });
    });
    outgoing.once("error", reject);
    outgoing.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

interface Status {
  readonly openTasks: readonly string[];
  readonly configuration: { readonly from: string; readonly controlPlane: string; readonly envoyInSync: boolean; readonly rejections: readonly unknown[] };
  readonly envoy: { readonly pid: number; readonly adopted: boolean };
}

describe("the agent (real control plane, real Envoy)", function () {
  this.timeout(180_000);
  let directory: ReturnType<typeof temporaryDir>;
  let control: BoundControlPlane | undefined;
  let agent: BoundAgent | undefined;
  let port = 0;
  const log: string[] = [];
  const recorder: Logger = {
    ...silentLogger,
    error: (facts: unknown, message?: string) => void log.push(`${JSON.stringify(facts)} ${message ?? ""}`),
    child: () => recorder,
  };

  const startControl = async (): Promise<void> => {
    const parsed = controlPlaneSchema.parse({
      configDir: join(directory.path, "config"),
      stateDir: join(directory.path, "control"),
      listen: { agents: [{ host: "127.0.0.1", port }], metrics: { host: "127.0.0.1", port: 0 }, apiSocket: join(directory.path, "api.sock") },
    });
    control = await startControlPlane(parsed, silentLogger);
    port = (control.agentAddresses[0] as { port: number }).port;
  };
  const startOne = async (): Promise<BoundAgent> => {
    const yaml = `
controlPlane: {address: "127.0.0.1:${port}"}
joinTokenFile: ${join(directory.path, "token")}
stateDir: ${join(directory.path, "state")}
runDir: ${join(directory.path, "run")}
addresses: [0.0.0.0/0, "::/0"]
workloads: [{group: shop/reviews, bind: {uid: 65533}, addresses: [192.0.2.2]}]
envoy: {path: ${envoyPath()}, user: nobody, concurrency: 1, drainSeconds: 1}
capture: {mode: off}
dns: {port: 0, upstreams: [127.0.0.1]}
ports: {status: 0, readiness: 0, inbound: 25006, outboundRange: [25100, 25109]}
`;
    const parsed = parseAgentConfig(yaml, "agent.yaml");
    assert.ok(parsed.ok, JSON.stringify(parsed));
    agent = await startAgent(parsed.value, { logger: recorder, environment: {}, onAccessLog: () => undefined });
    return agent;
  };
  const status = async (): Promise<Status> => (await (await fetch(`http://127.0.0.1:${agent?.addresses.status}/status`)).json()) as Status;
  const ready = async (): Promise<Status> => {
    await waitUntil(async () => (await fetch(`http://127.0.0.1:${agent?.addresses.readiness}/healthz/ready`)).status === 200, { what: "the agent to be ready" }).catch(async (failure: unknown) => {
      throw new Error(`${JSON.stringify(await status())}\n${log.join("\n")}`, { cause: failure });
    });
    return status();
  };

  const adminSocket = (): string => {
    const folder = join(directory.path, "run", "envoy");
    return join(folder, readdirSync(folder).findLast((name) => name.endsWith(".sock")) ?? "");
  };

  before(async () => {
    directory = temporaryDir();
    // Envoy runs as another user, who must be able to reach its own folder.
    chmodSync(directory.path, 0o755);
    mkdirSync(join(directory.path, "config"));
    writeFileSync(join(directory.path, "config", "mesh.yaml"), MESH);
    await startControl();
    const created = (await waitUntil(() => ask(join(directory.path, "api.sock"), "POST", "/api/v1/tokens", { groups: ["shop/reviews"], ttlSeconds: 600 }), { what: "a token" })) as { token: string };
    writeFileSync(join(directory.path, "token"), created.token, { mode: 0o600 });
  });
  after(async () => {
    await agent?.leave();
    await control?.close();
    directory.remove();
  });

  it("joins, gets its certificate and configuration, and Envoy accepts all of it", async () => {
    await startOne();
    const now = await ready();
    assert.equal(now.configuration.from, "control-plane");
    await waitUntil(async () => (await status()).configuration.envoyInSync, { what: "envoy to be in sync" });
    assert.deepEqual((await status()).configuration.rejections, []);
    const metrics = await (await fetch(`http://127.0.0.1:${agent?.addresses.status}/stats/prometheus`)).text();
    assert.match(metrics, /ironmesh_agent_ready 1/);
    assert.match(metrics, /envoy_server_live/);
  });

  it("keeps keys private, and unreadable to Envoy's user", () => {
    const state = join(directory.path, "state");
    assert.equal(statSync(state).mode & 0o777, 0o700);
    for (const entry of readdirSync(state, { recursive: true, withFileTypes: true })) {
      if (entry.isFile()) assert.equal(statSync(join(entry.parentPath, entry.name)).mode & 0o077, 0, entry.name);
    }
    assert.doesNotMatch(log.join("\n"), /PRIVATE KEY/);
  });

  it("leaves Envoy serving when it is closed, adopts it, and finds everything on disk with the control plane away", async () => {
    const before = await ready();
    await waitUntil(() => readdirSync(join(directory.path, "state", "last-known-good")).length > 0, { what: "the configuration to be kept" });
    await agent?.close();
    await control?.close();
    control = undefined;
    rmSync(join(directory.path, "token"));

    await startOne();
    const after = await ready();
    assert.equal(after.configuration.from, "disk");
    assert.equal(after.envoy.pid, before.envoy.pid);
    assert.equal(after.envoy.adopted, true);
    await waitUntil(async () => (await status()).configuration.envoyInSync, { what: "envoy to come back to the agent" });
  });

  it("comes up meshed after a reboot with the control plane away", async () => {
    await agent?.leave();
    rmSync(join(directory.path, "run"), { recursive: true });
    await startOne();
    const now = await ready();
    assert.equal(now.configuration.from, "disk");
    assert.equal(now.envoy.adopted, false);
  });

  it("takes the control plane's word again when it is back", async () => {
    await startControl();
    await waitUntil(async () => (await status()).configuration.from === "control-plane", { what: "the control plane to be followed" });
  });

  it("has a new identity in use as soon as its group's service account changes", async () => {
    await ready();
    writeFileSync(join(directory.path, "config", "mesh.yaml"), MESH.replace("serviceAccount: reviews", "serviceAccount: reviews2"));
    const secrets = async (): Promise<string> => connectAdmin(adminSocket()).get("/config_dump?resource=dynamic_active_secrets&mask=name");
    await waitUntil(async () => (await secrets()).includes("server|spiffe://mesh.internal/ns/shop/sa/reviews2"), { what: "envoy to serve with the new identity" });
    const now = await ready();
    assert.deepEqual(now.openTasks, []);
  });

  it("quarantines damaged state and asks anew", async () => {
    await agent?.close();
    const workloads = join(directory.path, "state", "workloads");
    const file = readdirSync(workloads)[0] ?? "";
    const text = readFileSync(join(workloads, file), "utf8");
    writeFileSync(join(workloads, file), text.slice(0, text.length / 2));
    await startOne();
    await ready();
    assert.ok(readdirSync(workloads).includes(`${file}.corrupt`));
    await waitUntil(() => readdirSync(workloads).includes(file), { what: "a new certificate" });
  });
});
