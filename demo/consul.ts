import { randomUUID } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { LabHost } from "../test/support/network-lab.ts";
import { waitUntil } from "../test/support/wait-until.ts";
import { createDaemon, whileRunning } from "./daemon.ts";
import type { Daemon } from "./daemon.ts";
import { APPLICATIONS } from "./terminal.ts";
import type { Terminal } from "./terminal.ts";

/** Where Consul's server runs, and the boxes: hosts with Consul's agent and an application, and nothing of the mesh. */
export const CONSUL_SERVER = "consul";
const BOX_NAMES = ["box1", "box2"] as const;
export const CONSUL_HOSTS: readonly string[] = [CONSUL_SERVER, ...BOX_NAMES];

const DETAILS_UID = 2_004;
const DETAILS_PORT = 9_082;
/** The service that only Consul knows, by its name in the mesh: Consul's services are in the namespace `consul`. */
export const CONSUL_URL = `http://details.consul:${DETAILS_PORT}`;

/** A Consul as people run it: a server that keeps its data, an agent on each box, rights denied by default. */
export interface ConsulCluster {
  readonly server: Daemon;
  /** What the control plane asks: the server's HTTP API, with a token that may read all, and write what it publishes. */
  readonly address: string;
  readonly tokenFile: string;
  readonly boxes: Readonly<Record<(typeof BOX_NAMES)[number], Box>>;
}

export interface Box {
  readonly lab: LabHost;
  /** The service *details*; it runs, and on box1 Consul knows. */
  readonly application: Daemon;
  /** Consul's definition of it. */
  readonly definitionPath: string;
  /** `consul …` as somebody on the box types it. */
  consul(...args: readonly string[]): Promise<string>;
}

interface StartOptions {
  readonly path: string;
  readonly host: (name: string) => LabHost;
  readonly folder: string;
  readonly terminal: Terminal;
}

const READ = 'service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }';
/** As docs/consul-publish.md has them. */
const PUBLISH = 'service "ratings" { policy = "write" } node "ironmesh" { policy = "write" }';
const RUN_SERVICES = 'service_prefix "" { policy = "write" } node_prefix "" { policy = "write" } agent_prefix "" { policy = "read" }';

/** Resolves when both boxes are members and the service's first instance passes its check. */
export async function startConsul(options: StartOptions): Promise<ConsulCluster> {
  const { path, host, folder } = options;
  const server = host(CONSUL_SERVER);
  const operatorToken = randomUUID();
  const tokenFile = await secretFile(options, CONSUL_SERVER, "operator-token", operatorToken);
  const daemon = await prepareAgent(options, CONSUL_SERVER, {
    server: true,
    bootstrap_expect: 1,
    client_addr: `127.0.0.1 ${server.addresses.v4}`,
    performance: { raft_multiplier: 1 },
    acl: { enabled: true, default_policy: "deny", tokens: { initial_management: operatorToken, agent: operatorToken } },
  });
  daemon.start();
  const env = { CONSUL_HTTP_TOKEN_FILE: tokenFile };
  await whileRunning(daemon, "Consul to have a leader", async () => (await server.run(path, ["acl", "token", "read", "-self"], { env })).code === 0);

  const createToken = async (name: string, rules: string): Promise<string> => {
    await must(server, path, ["acl", "policy", "create", "-name", name, "-rules", rules], env);
    const created = await must(server, path, ["acl", "token", "create", "-description", name, "-policy-name", name, "-format", "json"], env);
    return (JSON.parse(created) as { readonly SecretID: string }).SecretID;
  };
  const meshTokenFile = await secretFile(options, "control", "consul-token", await createToken("ironmesh", `${READ} ${PUBLISH}`));
  const boxToken = await createToken("boxes", RUN_SERVICES);
  const [box1, box2] = await Promise.all([startBox(options, "box1", boxToken), startBox(options, "box2", boxToken)]);
  await must(box1.lab, path, ["services", "register", box1.definitionPath], { CONSUL_HTTP_TOKEN_FILE: join(folder, "box1", "token") });
  return { server: daemon, address: `http://${server.addresses.v4}:8500`, tokenFile: meshTokenFile, boxes: { box1, box2 } };
}

async function startBox(options: StartOptions, name: (typeof BOX_NAMES)[number], token: string): Promise<Box> {
  const { path, host, folder, terminal } = options;
  const lab = host(name);
  const tokenFile = await secretFile(options, name, "token", token);
  const agent = await prepareAgent(options, name, {
    retry_join: [host(CONSUL_SERVER).addresses.v4],
    // Where the lab's hosts ask for names: Consul itself, on a box.
    addresses: { dns: "127.0.0.53" },
    ports: { dns: 53, grpc: -1, grpc_tls: -1 },
    acl: { enabled: true, default_policy: "deny", tokens: { default: token, agent: token } },
  });
  agent.start();
  const application = createDaemon({
    name: `details of ${name}`,
    host: lab,
    command: [process.execPath, join(APPLICATIONS, "details.mjs"), JSON.stringify({ box: name, uid: DETAILS_UID, port: DETAILS_PORT })],
    logPath: join(folder, "log", `details-${name}.log`),
  });
  application.start();
  const definitionPath = join(folder, name, "details.hcl");
  await writeFile(definitionPath, definition(BOX_NAMES.indexOf(name) + 1));
  const env = { CONSUL_HTTP_TOKEN_FILE: tokenFile };
  await whileRunning(agent, `${name} to join Consul`, async () => {
    const { stdout } = await lab.run(path, ["catalog", "nodes", "-filter", `Node == ${name}`], { env });
    return stdout.includes(lab.addresses.v4);
  });
  return { lab, application, definitionPath, consul: (...args) => terminal.program(lab, { name: "consul", path, env }, args) };
}

/** Tags as people set them: the protocol, and which version it is. */
function definition(number: number): string {
  return `service {
  id   = "details-${number}"
  name = "details"
  port = ${DETAILS_PORT}
  tags = ["http", "v${number}"]
  check {
    http     = "http://127.0.0.1:${DETAILS_PORT}/health"
    interval = "1s"
    timeout  = "1s"
  }
}
`;
}

/** A Consul agent that is still to be started, with its configuration on disk. */
async function prepareAgent({ path, host, folder }: StartOptions, name: string, settings: Readonly<Record<string, unknown>>): Promise<Daemon> {
  const lab = host(name);
  const configPath = join(folder, name, "consul.json");
  const config = {
    node_name: name,
    data_dir: join(folder, name, "consul"),
    bind_addr: lab.addresses.v4,
    log_level: "warn",
    disable_update_check: true,
    ports: { dns: -1, grpc: -1, grpc_tls: -1, ...(settings["server"] === true ? { serf_wan: -1 } : {}) },
    ...settings,
  };
  await mkdir(join(folder, name), { recursive: true });
  await writeFile(configPath, JSON.stringify(config, undefined, 2), { mode: 0o600 });
  return createDaemon({ name: `Consul of ${name}`, host: lab, command: [path, "agent", "-config-file", configPath], logPath: join(folder, "log", `consul-${name}.log`) });
}

async function secretFile({ folder }: StartOptions, host: string, name: string, secret: string): Promise<string> {
  await mkdir(join(folder, host), { recursive: true });
  const path = join(folder, host, name);
  await writeFile(path, `${secret}\n`, { mode: 0o600 });
  return path;
}

/** Until it succeeds: a cluster that has just begun refuses some things for a moment. */
async function must(host: LabHost, path: string, args: readonly string[], env: Readonly<Record<string, string>>): Promise<string> {
  let output = "";
  await waitUntil(
    async () => {
      const { code, stdout, stderr } = await host.run(path, args, { env });
      if (code !== 0) throw new Error(stderr.trim());
      output = stdout;
      return true;
    },
    { what: `consul ${args.join(" ")}`, intervalMs: 500 },
  );
  return output;
}
