import { generateKeyPairSync, randomUUID } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { KubernetesPrograms } from "../test/support/kubernetes.ts";
import type { LabHost } from "../test/support/network-lab.ts";
import { createDaemon, whileRunning } from "./daemon.ts";
import type { Daemon } from "./daemon.ts";
import type { Terminal } from "./terminal.ts";

/** Where the API server and etcd run, and the machine whose pods it tells about. */
export const KUBERNETES_SERVER = "cluster";
const NODE_NAME = "node1";
export const KUBERNETES_HOSTS: readonly string[] = [KUBERNETES_SERVER, NODE_NAME];

const API_PORT = 6_443;
const ETCD_PORT = 2_379;
/** The rights that Ironmesh ships for a cluster. */
const RBAC_PATH = fileURLToPath(new URL("../docs/kubernetes/rbac.yaml", import.meta.url));

/** A Kubernetes API: what is in it somebody wrote with kubectl, as there are no controllers. */
export interface KubernetesCluster {
  readonly apiServer: Daemon;
  readonly node: LabHost;
  /** What the control plane reads with: a service account that may list and watch, and no more. */
  readonly kubeconfig: string;
  /** `kubectl …` as the cluster's administrator types it. */
  readonly kubectl: (...args: readonly string[]) => Promise<string>;
  /** A file that `kubectl apply -f` takes. */
  readonly write: (name: string, yaml: string) => Promise<string>;
}

interface StartOptions {
  readonly programs: KubernetesPrograms;
  readonly host: (name: string) => LabHost;
  readonly folder: string;
  readonly terminal: Terminal;
}

/** Resolves when the API serves and the control plane's service account has its rights. */
export async function startKubernetes({ programs, host, folder, terminal }: StartOptions): Promise<KubernetesCluster> {
  const server = host(KUBERNETES_SERVER);
  const own = join(folder, KUBERNETES_SERVER);
  await mkdir(own, { recursive: true });
  const url = `https://${server.addresses.v4}:${API_PORT}`;
  const caPath = join(own, "certs", "apiserver.crt");
  const adminToken = randomUUID();
  await writeFile(join(own, "tokens"), `${adminToken},admin,admin,system:masters\n`, { mode: 0o600 });
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2_048, privateKeyEncoding: { type: "pkcs1", format: "pem" }, publicKeyEncoding: { type: "spki", format: "pem" } });
  await writeFile(join(own, "accounts.key"), privateKey, { mode: 0o600 });

  const log = (name: string): string => join(folder, "log", `${name}.log`);
  const etcd = createDaemon({ name: "etcd", host: server, command: etcdCommand(programs.etcd, join(own, "etcd")), logPath: log("etcd") });
  const apiServer = createDaemon({ name: "kube-apiserver", host: server, command: apiServerCommand(programs.apiServer, own, server.addresses.v4), logPath: log("kube-apiserver") });
  etcd.start();
  apiServer.start();
  const adminConfig = await writeKubeconfig(join(own, "admin.kubeconfig"), url, caPath, adminToken);
  const env = { KUBECONFIG: adminConfig, HOME: own };
  const kubectl = (...args: readonly string[]): Promise<string> => terminal.program(server, { name: "kubectl", path: programs.kubectl, env }, args);
  await whileRunning(apiServer, "Kubernetes to be ready", async () => (await server.run(programs.kubectl, ["get", "--raw", "/readyz"], { env })).code === 0);

  const must = async (...args: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await server.run(programs.kubectl, args, { env });
    if (code !== 0) throw new Error(`kubectl ${args.join(" ")}: ${stderr.trim()}`);
    return stdout;
  };
  await must("apply", "-f", RBAC_PATH);
  const token = (await must("create", "token", "ironmesh-registry", "--namespace", "ironmesh")).trim();
  const kubeconfig = await writeKubeconfig(join(folder, "control", "kubeconfig"), url, caPath, token);
  return {
    apiServer,
    node: host(NODE_NAME),
    kubeconfig,
    kubectl,
    async write(name, yaml) {
      const path = join(own, name);
      await writeFile(path, yaml);
      return path;
    },
  };
}

function etcdCommand(program: string, dataDir: string): string[] {
  const [client, peers] = [`http://127.0.0.1:${ETCD_PORT}`, `http://127.0.0.1:${ETCD_PORT + 1}`];
  return [
    program, "--data-dir", dataDir, "--log-level=error",
    "--listen-client-urls", client, "--advertise-client-urls", client,
    "--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster", `default=${peers}`,
  ];
}

function apiServerCommand(program: string, folder: string, address: string): string[] {
  const key = join(folder, "accounts.key");
  return [
    program, `--etcd-servers=http://127.0.0.1:${ETCD_PORT}`, `--secure-port=${API_PORT}`, `--bind-address=${address}`, `--advertise-address=${address}`,
    "--endpoint-reconciler-type=none", `--cert-dir=${join(folder, "certs")}`, `--token-auth-file=${join(folder, "tokens")}`,
    "--authorization-mode=RBAC", "--service-cluster-ip-range=10.96.0.0/16", "--disable-admission-plugins=ServiceAccount",
    "--service-account-issuer=https://kubernetes.default.svc", `--service-account-key-file=${key}`, `--service-account-signing-key-file=${key}`,
  ];
}

async function writeKubeconfig(path: string, server: string, caPath: string, token: string): Promise<string> {
  await mkdir(join(path, ".."), { recursive: true });
  await writeFile(path, JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "demo", cluster: { server, "certificate-authority": caPath } }],
    users: [{ name: "user", user: { token } }],
    contexts: [{ name: "demo", context: { cluster: "demo", user: "user" } }],
    "current-context": "demo",
  }, undefined, 2), { mode: 0o600 });
  return path;
}
