import assert from "node:assert/strict";
import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { stringify } from "yaml";
import { apiClient } from "../../cli/api-client.ts";
import { envoyPath } from "../support/envoy.ts";
import { createIptablesPath } from "../support/iptables-path.ts";
import { createLab } from "../support/network-lab.ts";
import type { LabHost, LabProcess, NetworkLab } from "../support/network-lab.ts";
import { networkState } from "../support/network-state.ts";
import { waitUntil } from "../support/wait-until.ts";

const PROXY_UID = 2_100;
const STRANGER_UID = 2_109;
/** What runs on each host: a server, and the user that it and its client have. */
const WORKLOADS = { a: { name: "alpha", uid: 2_101, port: 9_081 }, b: { name: "beta", uid: 2_102, port: 9_082 } } as const;
const SERVICE_PORT = 8_080;
const FAMILIES = ["v4", "v6"] as const;
const CLI = fileURLToPath(new URL("../../cli/main.ts", import.meta.url));
const client = (name: string): string => fileURLToPath(new URL(`../support/${name}.mjs`, import.meta.url));

type Name = keyof typeof WORKLOADS;

const meshOf = ({ name, port }: (typeof WORKLOADS)[Name]): string => `
apiVersion: v1
kind: Service
metadata: {name: ${name}, namespace: shop}
spec:
  selector: {app: ${name}}
  ports: [{name: http, port: ${SERVICE_PORT}, targetPort: ${port}}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: ${name}, namespace: shop}
spec:
  metadata: {labels: {app: ${name}}}
  template: {serviceAccount: ${name}, ports: {http: ${port}}}
---
`;
const STRICT = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: default, namespace: shop}\nspec: {mtls: {mode: STRICT}}\n";

describe("whole agents on hosts without nft", function () {
  this.timeout(300_000);
  let lab: NetworkLab;
  let folder = "";
  let path = "";
  const agents = new Map<Name, LabProcess>();
  const untouched = new Map<Name, string>();

  const hostOf = (name: Name | "control"): LabHost => {
    const host = lab.hosts[name];
    assert.ok(host);
    return host;
  };
  const ironmesh = (host: LabHost, args: readonly string[], env: Readonly<Record<string, string>> = {}): LabProcess => {
    const program = [process.execPath, "--disable-warning=ExperimentalWarning", CLI, ...args];
    return host.spawn("env", [...Object.entries(env).map(([key, value]) => `${key}=${value}`), ...program]);
  };
  const isRunning = ({ child }: LabProcess): boolean => child.exitCode === null && child.signalCode === null;
  const until = async (process: LabProcess, what: string, condition: () => Promise<boolean>): Promise<void> => {
    await waitUntil(async () => !isRunning(process) || (await condition()), { what, timeoutMs: 150_000, intervalMs: 200 }).catch((failure: unknown) => {
      throw new Error(process.output(), { cause: failure });
    });
    assert.ok(isRunning(process), process.output());
  };
  const startAgent = async (name: Name): Promise<void> => {
    const agent = ironmesh(hostOf(name), ["agent", "--config", join(folder, name, "agent.yaml")], { PATH: path });
    agents.set(name, agent);
    await until(agent, `the agent of ${name} to be ready`, async () => (await hostOf(name).run("curl", ["--silent", "--fail", "--max-time", "2", "http://127.0.0.1:15021/healthz/ready"])).code === 0);
  };
  const end = async (name: Name, signal: NodeJS.Signals): Promise<string> => {
    const agent = agents.get(name);
    assert.ok(agent);
    agent.child.kill(signal);
    await waitUntil(() => !isRunning(agent), { what: `the agent of ${name} to end` });
    return agent.output();
  };

  before(async () => {
    lab = await createLab({ hosts: ["control", "a", "b"] });
    // Short, for the sockets' sake, and Envoy's user must be able to reach its own.
    folder = await mkdtemp("/dev/shm/im-");
    await chmod(folder, 0o755);
    path = await createIptablesPath(join(folder, "bin"), "nft");
    const control = hostOf("control");
    await mkdir(join(folder, "mesh"));
    await writeFile(join(folder, "mesh", "mesh.yaml"), meshOf(WORKLOADS.a) + meshOf(WORKLOADS.b) + STRICT);
    const apiSocket = join(folder, "api.sock");
    const listen = { agents: [{ host: control.addresses.v4, port: 15_012 }], apiSocket };
    await writeFile(join(folder, "control-plane.yaml"), stringify({ configDir: join(folder, "mesh"), stateDir: join(folder, "control"), listen }));
    const controlPlane = ironmesh(control, ["control-plane", "--config", join(folder, "control-plane.yaml")]);
    const api = apiClient(apiSocket);
    await until(controlPlane, "the control plane", async () => (await api.get("/readyz")) !== undefined);
    for (const name of ["a", "b"] as const) {
      const host = hostOf(name);
      const { uid, port, name: workload } = WORKLOADS[name];
      await host.startApplication({ name: workload, uid, listeners: [{ port, kind: "http" }] });
      await host.startApplication({ name: `ssh-${name}`, uid: 0, listeners: [{ port: 22, kind: "tcp" }] });
      const token = await waitUntil(() => api.send("POST", "/api/v1/tokens", { type: "application/json", text: JSON.stringify({ groups: [`shop/${workload}`], ttlSeconds: 600 }) }), { what: "a token" });
      await mkdir(join(folder, name));
      await writeFile(join(folder, name, "token"), (token.body as { readonly token: string }).token, { mode: 0o600 });
      await writeFile(
        join(folder, name, "agent.yaml"),
        stringify({
          hostName: name,
          controlPlane: { address: `${control.addresses.v4}:15012` },
          joinTokenFile: join(folder, name, "token"),
          stateDir: join(folder, name, "state"),
          runDir: join(folder, name, "run"),
          addresses: [host.addresses.v4, host.addresses.v6],
          workloads: [{ group: `shop/${workload}`, bind: { uid } }],
          envoy: { path: envoyPath(), user: PROXY_UID, concurrency: 1, drainSeconds: 1 },
          dns: { mode: "capture" },
        }),
      );
      untouched.set(name, await networkState(host));
    }
    await Promise.all([startAgent("a"), startAgent("b")]);
  });
  after(async () => {
    for (const [, agent] of agents) await agent.close();
    await lab.close();
    await rm(folder, { recursive: true, force: true });
  });

  /** By the name server of another host, which has none: only capture answers. */
  const resolve = async (from: Name, uid: number, family: "v4" | "v6"): Promise<string> => {
    const to = from === "a" ? "b" : "a";
    const question = { mode: "resolve", uid, host: hostOf(to).addresses[family], name: `${WORKLOADS[to].name}.shop.svc.mesh.internal`, family };
    const { stdout, stderr } = await hostOf(from).run(process.execPath, [client("lab-client"), JSON.stringify(question)]);
    const answer = JSON.parse(stdout || `{"error": ${JSON.stringify(stderr)}}`) as { readonly lines?: readonly string[]; readonly error?: string };
    return answer.lines?.[0] ?? answer.error ?? "";
  };
  interface Answer {
    readonly status?: number;
    readonly error?: string;
    readonly body?: { readonly name?: string; readonly headers?: Readonly<Record<string, string>> };
  }
  const get = async (from: Name, uid: number, host: string, port: number, authority: string): Promise<Answer> => {
    const { stdout } = await hostOf(from).run(process.execPath, [client("mesh-client"), JSON.stringify({ uid, mode: "http1", host, port, authority })]);
    return (JSON.parse(stdout) as readonly Answer[])[0] ?? {};
  };
  /** Each workload calls the other one, at the address that its name has. */
  const assertBothWays = async (vips: ReadonlyMap<string, string>): Promise<void> => {
    for (const [from, to] of [["a", "b"], ["b", "a"]] as const) {
      for (const family of FAMILIES) {
        const [caller, server] = [WORKLOADS[from], WORKLOADS[to]];
        const call = (): Promise<Answer> => get(from, caller.uid, vips.get(`${from} ${family}`) ?? "", SERVICE_PORT, `${server.name}.shop`);
        await waitUntil(async () => (await call()).status === 200, { what: `${server.name} to answer ${caller.name} over IP${family}` });
        const { body } = await call();
        assert.equal(body?.name, server.name);
        const certificates = body?.headers?.["x-forwarded-client-cert"] ?? "";
        assert.match(certificates, new RegExp(`URI=spiffe://mesh\\.internal/ns/shop/sa/${caller.name}(;|$)`));
        assert.match(certificates, new RegExp(`By=spiffe://mesh\\.internal/ns/shop/sa/${server.name}(;|$)`));
      }
    }
  };
  const vips = new Map<string, string>();

  it("finds iptables by itself, and captures name queries and calls of either family, both ways, over mutual TLS", async () => {
    for (const from of ["a", "b"] as const) {
      assert.match(agents.get(from)?.output() ?? "", /"backend":"iptables"/);
      assert.match(await networkState(hostOf(from)), /-A OUTPUT -j IRONMESH_OUTPUT/);
      for (const family of FAMILIES) {
        await waitUntil(async () => /^[0-9a-f.:]+$/.test(await resolve(from, WORKLOADS[from].uid, family)), { what: `a name on ${from} over IP${family}` });
        vips.set(`${from} ${family}`, await resolve(from, WORKLOADS[from].uid, family));
        assert.equal(await resolve(from, STRANGER_UID, family), "ECONNREFUSED", "nobody else's query is captured");
      }
    }
    await assertBothWays(vips);
  });

  it("lets nobody around the proxies, and everybody to SSH", async () => {
    for (const [from, to] of [["a", "b"], ["b", "a"]] as const) {
      for (const family of FAMILIES) {
        const host = hostOf(to).addresses[family];
        assert.equal((await get(from, STRANGER_UID, host, WORKLOADS[to].port, "x")).status, undefined, "plain text to a strict port");
        const { stdout } = await hostOf(from).run(process.execPath, [client("lab-client"), JSON.stringify({ mode: "once", uid: WORKLOADS[from].uid, host, port: 22 })]);
        assert.match(stdout, new RegExp(`ssh-${to} `));
      }
    }
  });

  it("goes on when an agent is killed, and is taken over by the next one", async () => {
    await end("a", "SIGKILL");
    await assertBothWays(vips);
    await startAgent("a");
    assert.match(await resolve("a", WORKLOADS.a.uid, "v4"), /^240\./);
    await assertBothWays(vips);
  });

  it("leaves the hosts as they were, to the byte", async () => {
    for (const name of ["a", "b"] as const) {
      assert.notEqual(await networkState(hostOf(name)), untouched.get(name));
      const log = await end(name, "SIGUSR2");
      assert.equal(await networkState(hostOf(name)), untouched.get(name), log);
    }
  });
});
