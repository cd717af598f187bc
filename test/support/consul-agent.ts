import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import type { AddressInfo, Server } from "node:net";
import { join } from "node:path";
import { waitUntil } from "./wait-until.ts";

export interface ConsulAgentOptions {
  readonly path: string;
  /** Deny by default; this token may do everything. */
  readonly managementToken?: string;
  /** Other than deny, where there are ACLs. */
  readonly aclPolicy?: "allow";
  /** `default_intention_policy`; that of the ACLs where absent. */
  readonly intentionPolicy?: "allow" | "deny";
  /** Serves xDS to proxies. */
  readonly hasXds?: boolean;
  /** Where a server keeps its data over restarts; absent: in memory. */
  readonly dataFolder?: string;
  readonly datacenter?: string;
  /** Another datacenter to join. */
  readonly joinWan?: ConsulAgent;
  /** Serves HTTPS besides, to clients whose certificates the root signed. PEM files. */
  readonly https?: { readonly caFile: string; readonly certificateFile: string; readonly keyFile: string };
  /** Serves HTTP at this path besides. */
  readonly socket?: string;
  /** `limits.http_max_conns_per_client`; 200 where absent, which is Consul's default. */
  readonly maxConnections?: number;
  /** One of several servers that keep their data in folders; the others are told the first. */
  readonly cluster?: { readonly servers: number; readonly dataDir: string; readonly node: string; readonly first?: ConsulAgent };
  /** Of loopback: what it listens on and calls from; 127.0.0.1 where absent. */
  readonly host?: string;
}

/** A service as Consul's agent API registers it. */
export type Registration = Readonly<Record<string, unknown>> & { readonly ID: string; readonly Name: string };

/** A real Consul on loopback: one server, which loses its data at a restart unless it has a folder for it. */
export class ConsulAgent {
  readonly #options: ConsulAgentOptions;
  readonly #ports: readonly number[];
  #process: ChildProcess | undefined;

  private constructor(options: ConsulAgentOptions, ports: readonly number[]) {
    this.#options = options;
    this.#ports = ports;
  }

  static async start(options: ConsulAgentOptions): Promise<ConsulAgent> {
    const agent = await ConsulAgent.prepare(options);
    await agent.start();
    return agent;
  }

  /** One that is not started yet. */
  static async prepare(options: ConsulAgentOptions): Promise<ConsulAgent> {
    return new ConsulAgent(options, await freePorts(7));
  }

  get httpPort(): number {
    return this.#ports[0] ?? 0;
  }

  /** UDP and TCP. */
  get dnsPort(): number {
    return this.#ports[4] ?? 0;
  }

  get address(): string {
    return `http://${this.host}:${this.httpPort}`;
  }

  get host(): string {
    return this.#options.host ?? "127.0.0.1";
  }

  get httpsAddress(): string {
    return `https://${this.host}:${this.#ports[5]}`;
  }

  /** Where proxies are told their configuration. */
  get xdsAddress(): string {
    return `127.0.0.1:${this.#ports[6]}`;
  }

  async start(): Promise<void> {
    await this.launch();
    await this.elected();
  }

  /** Starts it, without waiting for a leader. */
  async launch(): Promise<void> {
    const [http, server, lan, wan, dns, https, xds] = this.#ports;
    const { path, managementToken, aclPolicy = "deny", intentionPolicy, hasXds, datacenter, joinWan, https: tls, socket, maxConnections, cluster, dataFolder } = this.#options;
    const hcl = [
      `ports { http = ${http} https = ${tls === undefined ? -1 : https} server = ${server} serf_lan = ${lan} serf_wan = ${wan} dns = ${dns} grpc = ${hasXds === true ? xds : -1} grpc_tls = -1 }`,
      "performance { raft_multiplier = 1 }",
      ...(datacenter === undefined ? [] : [`datacenter = "${datacenter}"`]),
      ...(joinWan === undefined ? [] : [`retry_join_wan = ["127.0.0.1:${joinWan.#ports[3]}"] retry_interval_wan = "1s"`]),
      ...(tls === undefined ? [] : [`tls { https { ca_file = "${tls.caFile}" cert_file = "${tls.certificateFile}" key_file = "${tls.keyFile}" verify_incoming = true } }`]),
      ...(socket === undefined ? [] : [`addresses { http = "${this.host} unix://${socket}" }`]),
      ...(intentionPolicy === undefined ? [] : [`default_intention_policy = "${intentionPolicy}"`]),
      ...(maxConnections === undefined ? [] : [`limits { http_max_conns_per_client = ${maxConnections} }`]),
      ...(cluster === undefined ? [] : [clusterHcl(cluster, cluster.first === undefined ? undefined : `${cluster.first.host}:${cluster.first.#ports[2]}`)]),
      ...(managementToken === undefined
        ? []
        : [`acl { enabled = true default_policy = "${aclPolicy}" tokens { initial_management = "${managementToken}" agent = "${managementToken}" dns = "${managementToken}" } }`]),
    ];
    const mode = cluster !== undefined ? [] : dataFolder === undefined ? ["-dev"] : ["-server", "-bootstrap-expect=1", `-data-dir=${dataFolder}`];
    const child = spawn(path, ["agent", ...mode, `-bind=${this.host}`, `-client=${this.host}`, "-log-level=err", ...hcl.flatMap((part) => ["-hcl", part])], { stdio: "ignore" });
    this.#process = child;
    await once(child, "spawn");
  }

  /** Waits until there is a leader. */
  async elected(): Promise<void> {
    await waitUntil(
      async () => {
        const child = this.#process;
        const { managementToken } = this.#options;
        if (child === undefined || child.exitCode !== null) throw new Error(`consul ended with ${child?.exitCode}`);
        const { status, body } = await this.call("GET", "/v1/status/leader");
        if (status !== 200 || body === "") return false;
        // A new leader takes a moment to know its tokens.
        return managementToken === undefined || (await this.call("GET", "/v1/acl/token/self")).status === 200;
      },
      { what: "consul to elect a leader" },
    );
  }

  async stop(): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child === undefined || child.exitCode !== null) return;
    const ended = once(child, "exit");
    child.kill("SIGKILL");
    await ended;
  }

  /** Asks as an administrator. */
  async call(method: string, path: string, body?: unknown): Promise<{ readonly status: number; readonly body: unknown }> {
    const { managementToken } = this.#options;
    const response = await fetch(this.address + path, {
      method,
      headers: managementToken === undefined ? {} : { "x-consul-token": managementToken },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    return { status: response.status, body: text === "" || !/^[[{"]/.test(text) ? text : (JSON.parse(text) as unknown) };
  }

  async register(...registrations: readonly Registration[]): Promise<void> {
    for (const registration of registrations) await this.#mustDo("/v1/agent/service/register", registration);
  }

  /** Several changes of the catalog at once, as nodes that have no agent are registered. */
  async transact(operations: readonly unknown[]): Promise<void> {
    for (let at = 0; at < operations.length; at += 64) await this.#mustDo("/v1/txn", operations.slice(at, at + 64));
  }

  async deregister(...ids: readonly string[]): Promise<void> {
    for (const id of ids) await this.#mustDo(`/v1/agent/service/deregister/${id}`);
  }

  /** A token that may do what the rules say. */
  async createToken(rules: string): Promise<{ readonly accessor: string; readonly secret: string }> {
    const name = `p${Math.random().toString(36).slice(2)}`;
    await this.#mustDo("/v1/acl/policy", { Name: name, Rules: rules });
    const { AccessorID, SecretID } = (await this.#mustDo("/v1/acl/token", { Policies: [{ Name: name }] })) as { AccessorID: string; SecretID: string };
    return { accessor: AccessorID, secret: SecretID };
  }

  /** A file in the folder that holds such a token. */
  async tokenFile(folder: string, rules: string): Promise<string> {
    const { accessor, secret } = await this.createToken(rules);
    const file = join(folder, accessor);
    await writeFile(file, secret, { mode: 0o600 });
    return file;
  }

  async #mustDo(path: string, body?: unknown): Promise<unknown> {
    const answer = await this.call("PUT", path, body);
    if (answer.status !== 200) throw new Error(`${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
    return answer.body;
  }
}

function clusterHcl({ servers, node, dataDir }: NonNullable<ConsulAgentOptions["cluster"]>, first: string | undefined): string {
  const joining = first === undefined ? "" : ` retry_join = ["${first}"] retry_interval = "1s"`;
  return `server = true bootstrap_expect = ${servers} node_name = "${node}" data_dir = "${dataDir}"${joining}`;
}

export async function freePorts(count: number): Promise<number[]> {
  const servers: Server[] = [];
  for (let at = 0; at < count; at += 1) {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    servers.push(server);
  }
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
