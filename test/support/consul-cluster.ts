import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { ConsulAgent } from "./consul-agent.ts";
import { waitUntil } from "./wait-until.ts";

/**
 * Three real Consul servers, each on an address of loopback that it also calls
 * from. The caller is alone in a private network namespace: a server is cut off
 * by rules of nft. Its HTTP API is reached all the same.
 */
export interface ConsulCluster {
  readonly servers: readonly ConsulAgent[];
  leader(): Promise<ConsulAgent>;
  /** Nothing passes between this server and the others, until `heal`. */
  cut(server: ConsulAgent): Promise<void>;
  heal(): Promise<void>;
  /** What the server says of itself with a stale answer. */
  staleness(server: ConsulAgent, path: string): Promise<Staleness>;
  close(): Promise<void>;
}

export interface Staleness {
  readonly index: number;
  readonly isLeaderKnown: boolean;
  readonly lastContactMs: number;
}

const SERVERS = 3;
const TABLE = "inet ironmesh_test_cut";
/** Also where there is no such table. */
const NO_RULES = `table ${TABLE}\ndelete table ${TABLE}\n`;

/** @param folder for their data; removed by whoever made it */
export async function startConsulCluster(path: string, folder: string, managementToken: string): Promise<ConsulCluster> {
  const servers: ConsulAgent[] = [];
  const close = async (): Promise<void> => {
    for (const server of servers) await server.stop();
    await nft(NO_RULES);
  };
  try {
    for (let at = 1; at <= SERVERS; at += 1) {
      const [first] = servers;
      const cluster = { servers: SERVERS, dataDir: join(folder, `server-${at}`), node: `server-${at}`, ...(first === undefined ? {} : { first }) };
      servers.push(await ConsulAgent.prepare({ path, managementToken, host: `127.0.0.${at}`, cluster }));
    }
    for (const server of servers) await server.launch();
    for (const server of servers) await server.elected();
    for (const server of servers) await waitUntil(async () => ((await server.call("GET", "/v1/status/peers")).body as string[]).length === SERVERS, { what: "the servers to know each other" });
  } catch (failure) {
    await close();
    throw failure;
  }
  return {
    servers,
    async leader() {
      const [first] = servers;
      const leader = (await first?.call("GET", "/v1/status/leader"))?.body as string;
      const found = servers.find(({ host }) => leader.startsWith(`${host}:`));
      if (found === undefined) throw new Error(`${leader} is none of the servers`);
      return found;
    },
    cut: (server) => nft(cutRules(server, servers.filter((other) => other !== server))),
    heal: () => nft(NO_RULES),
    async staleness(server, question) {
      const response = await fetch(`${server.address}${question}?stale`, { headers: { "x-consul-token": managementToken } });
      await response.arrayBuffer();
      const told = (name: string): string => response.headers.get(name) ?? "";
      return { index: Number(told("x-consul-index")), isLeaderKnown: told("x-consul-knownleader") === "true", lastContactMs: Number(told("x-consul-lastcontact")) };
    },
    close,
  };
}

function cutRules({ host, httpPort }: ConsulAgent, others: readonly ConsulAgent[]): string {
  const rest = `{ ${others.map((other) => other.host).join(", ")} }`;
  return `table ${TABLE} {
  chain output {
    type filter hook output priority 0; policy accept;
    ip saddr ${host} ip daddr ${rest} tcp sport != ${httpPort} drop
    ip saddr ${rest} ip daddr ${host} tcp dport != ${httpPort} drop
    ip saddr ${host} ip daddr ${rest} meta l4proto udp drop
    ip saddr ${rest} ip daddr ${host} meta l4proto udp drop
  }
}
`;
}

async function nft(rules: string): Promise<void> {
  const child = spawn("nft", ["-f", "-"], { stdio: ["pipe", "ignore", "pipe"] });
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (said += text));
  child.stdin.end(rules);
  const [code] = (await once(child, "close")) as [number | null];
  if (code !== 0) throw new Error(`nft failed: ${said.trim()}`);
}
