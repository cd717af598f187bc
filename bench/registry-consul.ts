import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { ensureConsul } from "../test/support/consul.ts";
import { ConsulAgent } from "../test/support/consul-agent.ts";
import { createTestAuthority } from "../test/support/test-authority.ts";
import { endpointAddress, SERVICE_PORT, serviceName, type Size, type Source } from "./registry-source.ts";

/** Consul takes 128 operations in one transaction; a service and its check are two. */
const BATCH = 60;
const NODES = 500;
const SERVER_NAME = "server.dc1.consul";

/** A real Consul of one server, filled through its catalog; read over HTTP/1.1, or over HTTP/2 with a client's certificate. */
export async function startConsulSource({ services, endpoints }: Size, isHttps: boolean): Promise<Source> {
  const found = await ensureConsul(console.error);
  if ("missing" in found) throw new Error(found.missing);
  const https = isHttps ? await mintCertificate() : undefined;
  const agent = await ConsulAgent.start({ path: found.path, ...(https === undefined ? {} : { https }) });
  const { body } = await agent.call("GET", "/v1/agent/self");
  const { Version: version } = (body as { readonly Config: { readonly Version: string } }).Config;

  const nodeOf = (index: number, replica: number): string => `node-${(index * endpoints + replica) % NODES}`;
  const idOf = (index: number, replica: number): string => `${serviceName(index)}-${replica}`;
  const instance = (index: number, replica: number, generation: number): object => ({
    ID: idOf(index, replica),
    Service: serviceName(index),
    Address: endpointAddress(index, replica, generation),
    Port: SERVICE_PORT,
    Meta: { protocol: "http", version: "v1" },
  });
  async function must(path: string, content: unknown): Promise<void> {
    const answer = await agent.call("PUT", path, content);
    if (answer.status !== 200) throw new Error(`consul: ${path}: ${answer.status} ${JSON.stringify(answer.body).slice(0, 300)}`);
  }

  return {
    program: `Consul ${version}, one server in memory, over ${isHttps ? "HTTP/2" : "HTTP/1.1"}`,
    config: { kind: "consul", ...(https === undefined ? { address: agent.address } : { address: agent.httpsAddress, serverName: SERVER_NAME, ...https }) },
    clusterName: (index) => `outbound|${SERVICE_PORT}||${serviceName(index)}.consul.svc.mesh.internal`,
    async fill() {
      for (let at = 0; at < NODES; at += BATCH) {
        const nodes = Array.from({ length: Math.min(BATCH, NODES - at) }, (_, offset) => ({ Node: `node-${at + offset}`, Address: `172.16.${(at + offset) >> 8}.${(at + offset) & 255}` }));
        await must("/v1/txn", nodes.map((Node) => ({ Node: { Verb: "set", Node } })));
      }
      for (let at = 0; at < services * endpoints; at += BATCH) {
        const operations = Array.from({ length: Math.min(BATCH, services * endpoints - at) }, (_, offset) => {
          const [index, replica] = [Math.floor((at + offset) / endpoints), (at + offset) % endpoints];
          const [Node, ServiceID] = [nodeOf(index, replica), idOf(index, replica)];
          return [
            { Service: { Verb: "set", Node, Service: instance(index, replica, 0) } },
            { Check: { Verb: "set", Check: { Node, ServiceID, CheckID: `service:${ServiceID}`, Name: "alive", Status: "passing" } } },
          ];
        });
        await must("/v1/txn", operations.flat());
      }
    },
    change: (index, generation) => must("/v1/catalog/register", { Node: nodeOf(index, 0), SkipNodeUpdate: true, Service: instance(index, 0, generation) }),
    async stop() {
      await agent.stop();
      if (https !== undefined) await rm(dirname(https.caFile), { recursive: true });
    },
  };
}

/** One certificate for both ends, in files of a folder of their own. */
async function mintCertificate(): Promise<{ readonly caFile: string; readonly certificateFile: string; readonly keyFile: string }> {
  const folder = await mkdtemp(join(tmpdir(), "ironmesh-bench-"));
  const authority = createTestAuthority();
  const { certificateChain, privateKey } = authority.mintNamed(SERVER_NAME);
  const write = async (name: string, text: string): Promise<string> => {
    await writeFile(join(folder, name), text, { mode: 0o600 });
    return join(folder, name);
  };
  return { caFile: await write("ca.pem", authority.root), certificateFile: await write("certificate.pem", certificateChain), keyFile: await write("key.pem", privateKey.revealText()) };
}
