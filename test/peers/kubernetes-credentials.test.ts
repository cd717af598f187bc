import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseAllDocuments, stringify } from "yaml";
import { systemClock } from "../../base/clock.ts";
import { apiClient } from "../../cli/api-client.ts";
import { ironmeshCommand } from "../../demo/daemon.ts";
import type { RegistryView } from "../../discovery/http/api.ts";
import { createKubernetesRegistry } from "../../discovery/registry/kubernetes/registry.ts";
import type { Registry } from "../../discovery/registry/registry.ts";
import { startCuttableRelay } from "../support/cuttable-relay.ts";
import { KubernetesApi } from "../support/kubernetes-api.ts";
import { service } from "../support/kubernetes-objects.ts";
import type { KubernetesObject } from "../support/kubernetes-objects.ts";
import { kubernetesPrograms } from "../support/kubernetes.ts";
import type { TestIdentity } from "../support/test-authority.ts";
import { createTestAuthority } from "../support/test-authority.ts";
import { waitUntil } from "../support/wait-until.ts";

const programs = kubernetesPrograms();
/** As the shipped rights name it. */
const ACCOUNT = "system:serviceaccount:ironmesh:ironmesh-registry";
const FAST = { resumeMs: 20, gatherMs: 20, backoff: { baseMs: 20, maxMs: 500 } };
/** A pod's view of the account: a mount that no other process sees, and that ends with the one that has it. */
const AS_POD = 'mount -t tmpfs tmpfs /run && mkdir -p /run/secrets/kubernetes.io/serviceaccount && mount --bind "$0" /run/secrets/kubernetes.io/serviceaccount && exec "$@"';

(programs === undefined ? describe.skip : describe)(programs === undefined ? "credentials of kubernetes (no kube-apiserver and etcd, and no Go to build them)" : "credentials of kubernetes", () => {
  let api: KubernetesApi;
  let folder: string;
  const shipped = parseAllDocuments(readFileSync(join(import.meta.dirname, "..", "..", "docs", "kubernetes", "rbac.yaml"), "utf8")).map((document) => document.toJS() as KubernetesObject);

  before(async () => {
    assert.ok(programs !== undefined);
    folder = await mkdtemp(join(tmpdir(), "ironmesh-credentials-"));
    api = await KubernetesApi.start(programs, { reader: ACCOUNT });
    await api.apply(...shipped, service("web"));
  });

  after(async () => {
    await api.stop();
    await rm(folder, { recursive: true });
  });

  function open(kubeconfig: string, tokenFile?: string): Registry {
    const registry = createKubernetesRegistry({ name: "kubernetes", meshDomain: "mesh.internal", kubeconfig, tokenFile, clock: systemClock, pacing: FAST });
    registry.start();
    return registry;
  }

  const well = (registry: Registry): Promise<boolean> => waitUntil(() => registry.status().lastError === undefined && registry.services.get("default/web") !== undefined, { what: "the service" });
  const denied = (registry: Registry, words: RegExp): Promise<boolean> => waitUntil(() => registry.status().lastError?.code === "MESH_REGISTRY_DENIED" && words.test(registry.status().lastError?.message ?? ""), { what: `${words}` });

  it("takes a client certificate of the kubeconfig, also one that is replaced", async () => {
    const [cert, key] = [join(folder, "client.crt"), join(folder, "client.key")];
    const write = async ({ certificateChain, privateKey }: TestIdentity): Promise<void> => {
      await writeFile(cert, certificateChain);
      await writeFile(key, privateKey.revealText(), { mode: 0o600 });
    };
    await write(createTestAuthority().mintUser(ACCOUNT));
    const registry = open(await api.kubeconfigOf("certificate", { "client-certificate": cert, "client-key": key }));
    try {
      // Of an authority that the cluster does not know.
      await denied(registry, /401/);
      await write(api.clientCertificate(ACCOUNT));
      await well(registry);
    } finally {
      await registry.close();
    }
  });

  it("takes the token of a file beside a kubeconfig that has no user", async () => {
    const tokenFile = join(folder, "token");
    await writeFile(tokenFile, "reader\n");
    const registry = open(await api.kubeconfigOf("nobody", undefined), tokenFile);
    await well(registry);
    await registry.close();
  });

  it("asks an exec plugin, anew when what it gave is refused, and says what the plugin says when it fails", async () => {
    const [plugin, answer, asked] = [join(folder, "plugin"), join(folder, "answer"), join(folder, "asked")];
    await writeFile(plugin, `#!/bin/sh\necho "$CLUSTER" >> ${asked}\ntest -e ${answer} || { echo "log in first" >&2; exit 1; }\ncat ${answer}\n`);
    await chmod(plugin, 0o700);
    const say = (status: object): Promise<void> => writeFile(answer, JSON.stringify({ apiVersion: "client.authentication.k8s.io/v1", kind: "ExecCredential", status }));
    const exec = { apiVersion: "client.authentication.k8s.io/v1", command: plugin, env: [{ name: "CLUSTER", value: "real" }], interactiveMode: "Never" };
    const registry = open(await api.kubeconfigOf("exec", { exec }));
    try {
      await denied(registry, /there are no credentials: log in first/);
      await say({ token: "wrong" });
      await denied(registry, /401/);
      await say({ token: "reader" });
      await well(registry);
      const { certificateChain, privateKey } = api.clientCertificate(ACCOUNT);
      await say({ clientCertificateData: certificateChain, clientKeyData: privateKey.revealText() });
      const byCertificate = open(await api.kubeconfigOf("exec", { exec }));
      await well(byCertificate);
      await byCertificate.close();
      assert.match(await readFile(asked, "utf8"), /^(real\n)+$/);
    } finally {
      await registry.close();
    }
    const lost = open(await api.kubeconfigOf("nowhere", { exec: { ...exec, command: join(folder, "nowhere") } }));
    await denied(lost, /ENOENT/);
    await lost.close();
  });

  it("is a pod's account inside of the cluster, whose token is renewed on disk", async () => {
    const account = join(folder, "account");
    const bind = (name: string): KubernetesObject => ({ apiVersion: "v1", kind: "Secret", metadata: { name, namespace: "ironmesh" } });
    await mkdir(account);
    await mkdir(join(folder, "config"));
    await writeFile(join(account, "ca.crt"), await readFile(api.authorityPath));
    await api.apply(bind("first"), bind("second"));
    const first = await api.accountToken("ironmesh", "ironmesh-registry", "first");
    await writeFile(join(account, "token"), first);
    const relay = await startCuttableRelay(api.port);
    const apiSocket = join(folder, "api.sock");
    const configuration = { configDir: join(folder, "config"), stateDir: join(folder, "state"), registries: [{ kind: "kubernetes" }], listen: { agents: [{ host: "127.0.0.1", port: 0 }], metrics: { host: "127.0.0.1", port: 0 }, apiSocket }, log: { level: "error" } };
    await writeFile(join(folder, "control-plane.yaml"), stringify(configuration));
    const command = ironmeshCommand("control-plane", "--config", join(folder, "control-plane.yaml"));
    const env = { ...process.env, KUBERNETES_SERVICE_HOST: "127.0.0.1", KUBERNETES_SERVICE_PORT: String(relay.port) };
    const pod = spawn("setpriv", ["--pdeathsig", "KILL", "unshare", "-m", "sh", "-c", AS_POD, account, ...command], { env, stdio: ["ignore", "ignore", "inherit"] });
    const registry = async (): Promise<RegistryView | undefined> => ((await apiClient(apiSocket).get("/api/v1/registries")) as RegistryView[]).find(({ kind }) => kind === "kubernetes");
    try {
      await waitUntil(async () => (await registry())?.services === 2 && (await registry())?.error === "", { what: "the cluster's services" });
      // What a token is bound to ends it, after some seconds; watches outlive it.
      await api.remove(bind("first"));
      await waitUntil(async () => (await api.call("GET", "/api/v1/services", undefined, undefined, first)).status === 401, { what: "the token to be refused", timeoutMs: 60_000 });
      relay.cut();
      relay.mend();
      await waitUntil(async () => (await registry())?.error.includes("401"), { what: "the end of the token", timeoutMs: 60_000 });
      assert.equal((await registry())?.services, 2);
      await writeFile(join(account, "token"), await api.accountToken("ironmesh", "ironmesh-registry", "second"));
      await waitUntil(async () => (await registry())?.error === "", { what: "the new token", timeoutMs: 60_000 });
    } finally {
      await end(pod);
      await relay.close();
    }
  });
});

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.kill("SIGTERM");
  await ended;
}
