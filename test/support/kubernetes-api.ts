import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { generateKeyPairSync } from "node:crypto";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { request } from "node:https";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ISTIO_RESOURCES, resourceOf, RESOURCES } from "./kubernetes-objects.ts";
import type { KubernetesObject, SampleKind } from "./kubernetes-objects.ts";
import type { KubernetesPrograms } from "./kubernetes.ts";
import { createTestAuthority } from "./test-authority.ts";
import type { TestIdentity } from "./test-authority.ts";
import { waitUntil } from "./wait-until.ts";

const ADMIN_TOKEN = "admin-token";
/** Who is known beside the administrator: user names by token. */
export type Users = Readonly<Record<string, string>>;

/** A real kube-apiserver with its etcd on loopback, without controllers: what nobody writes is not there. */
export class KubernetesApi {
  readonly #programs: KubernetesPrograms;
  readonly #folder: string;
  readonly #ports: { readonly api: number; readonly etcd: number; readonly etcdPeers: number };
  readonly #clients = createTestAuthority("clients");
  readonly #podUids = new Map<string, string>();
  #apiServer: ChildProcess | undefined;
  #etcd: ChildProcess | undefined;

  private constructor(programs: KubernetesPrograms, folder: string, [api = 0, etcd = 0, etcdPeers = 0]: readonly number[]) {
    this.#programs = programs;
    this.#folder = folder;
    this.#ports = { api, etcd, etcdPeers };
  }

  static async start(programs: KubernetesPrograms, users: Users): Promise<KubernetesApi> {
    const folder = await mkdtemp(join(tmpdir(), "ironmesh-kubernetes-"));
    const api = new KubernetesApi(programs, folder, await freePorts(3));
    const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2_048, privateKeyEncoding: { type: "pkcs1", format: "pem" }, publicKeyEncoding: { type: "spki", format: "pem" } });
    await writeFile(join(folder, "accounts.key"), privateKey, { mode: 0o600 });
    const known = [[ADMIN_TOKEN, "admin", '"system:masters"'], ...Object.entries(users).map(([token, user]) => [token, user, '"system:authenticated"'])];
    await writeFile(join(folder, "tokens"), known.map(([token, user, groups]) => [token, user, user, groups].join(",")).join("\n"), { mode: 0o600 });
    await writeFile(join(folder, "clients.crt"), api.#clients.root);
    await api.startEtcd();
    await api.startApiServer();
    return api;
  }

  get port(): number {
    return this.#ports.api;
  }

  /** What its clients trust. */
  certificate(): Promise<Buffer> {
    return readFile(this.authorityPath);
  }

  /** What it proves itself with, for whoever stands in its way. */
  async identity(): Promise<{ readonly cert: Buffer; readonly key: Buffer }> {
    return { cert: await this.certificate(), key: await readFile(join(this.#folder, "certs", "apiserver.key")) };
  }

  /** The headers of whoever may do everything. */
  get administrator(): { readonly authorization: string } {
    return { authorization: `Bearer ${ADMIN_TOKEN}` };
  }

  /** Of the root that its certificate is checked against. */
  get authorityPath(): string {
    return join(this.#folder, "certs", "apiserver.crt");
  }

  /** A certificate of the clients' authority, for a user of that name. */
  clientCertificate(user: string): TestIdentity {
    return this.#clients.mintUser(user);
  }

  /** A token of an account, for as long as the secret is there that it is bound to. */
  async accountToken(namespace: string, account: string, secret: string): Promise<string> {
    const bound = JSON.parse((await this.call("GET", `/api/v1/namespaces/${namespace}/secrets/${secret}`)).body) as { readonly metadata: { readonly uid: string } };
    const spec = { boundObjectRef: { apiVersion: "v1", kind: "Secret", name: secret, uid: bound.metadata.uid } };
    const { status, body } = await this.call("POST", `/api/v1/namespaces/${namespace}/serviceaccounts/${account}/token`, { apiVersion: "authentication.k8s.io/v1", kind: "TokenRequest", spec });
    if (status !== 201) throw new Error(`${status} ${body}`);
    return (JSON.parse(body) as { readonly status: { readonly token: string } }).status.token;
  }

  /** A kubeconfig for one of the users. @param port of a way to the API server; its own where absent */
  async kubeconfig(token: string, port: number = this.port): Promise<string> {
    return this.kubeconfigOf(token, { token }, port);
  }

  /** @param user with credentials as a kubeconfig has them; undefined: none at all, as `kubectl config` writes it */
  async kubeconfigOf(name: string, user: object | undefined, port: number = this.port): Promise<string> {
    const path = join(this.#folder, `config-${name}-${port}`);
    await writeFile(path, JSON.stringify({
      apiVersion: "v1",
      kind: "Config",
      clusters: [{ name: "real", cluster: { server: `https://127.0.0.1:${port}`, "certificate-authority": this.authorityPath } }],
      users: user === undefined ? null : [{ name: "user", user }],
      contexts: [{ name: "real", context: { cluster: "real", user: user === undefined ? "" : "user" } }],
      "current-context": "real",
    }), { mode: 0o600 });
    return path;
  }

  async startEtcd(): Promise<void> {
    const { etcd, etcdPeers } = this.#ports;
    const [client, peers] = [`http://127.0.0.1:${etcd}`, `http://127.0.0.1:${etcdPeers}`];
    this.#etcd = spawn(this.#programs.etcd, [
      "--data-dir", join(this.#folder, "etcd"), "--unsafe-no-fsync", "--log-level=error",
      "--listen-client-urls", client, "--advertise-client-urls", client,
      "--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster", `default=${peers}`,
    ], { stdio: "ignore" });
    await waitUntil(async () => (await fetch(`${client}/health`)).ok, { what: "etcd" });
  }

  async startApiServer(): Promise<void> {
    const { api, etcd } = this.#ports;
    const key = join(this.#folder, "accounts.key");
    await mkdir(join(this.#folder, "certs"), { recursive: true });
    const child = spawn(this.#programs.apiServer, [
      `--etcd-servers=http://127.0.0.1:${etcd}`, `--secure-port=${api}`, "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1",
      "--endpoint-reconciler-type=none", `--cert-dir=${join(this.#folder, "certs")}`, `--token-auth-file=${join(this.#folder, "tokens")}`,
      `--client-ca-file=${join(this.#folder, "clients.crt")}`,
      "--authorization-mode=RBAC", "--service-cluster-ip-range=10.96.0.0/16,fd00:96::/112", "--disable-admission-plugins=ServiceAccount",
      "--service-account-issuer=https://kubernetes.default.svc", `--service-account-key-file=${key}`, `--service-account-signing-key-file=${key}`,
    ], { stdio: ["ignore", "ignore", "pipe"] });
    this.#apiServer = child;
    let said = "";
    child.stderr.on("data", (chunk: Buffer) => (said = (said + chunk.toString()).slice(-2_000)));
    await waitUntil(
      async () => {
        if (child.exitCode !== null) throw new Error(`kube-apiserver ended with ${child.exitCode}: ${said}`);
        return (await this.call("GET", "/readyz")).status === 200;
      },
      { what: "kube-apiserver", timeoutMs: 120_000 },
    );
  }

  async stopApiServer(): Promise<void> {
    await kill(this.#apiServer);
  }

  /** Ends etcd with everything that it knows. */
  async wipeEtcd(): Promise<void> {
    await kill(this.#etcd);
    await rm(join(this.#folder, "etcd"), { recursive: true });
  }

  /** Has etcd forget what was before now, as Kubernetes does every five minutes. */
  async compact(): Promise<void> {
    const { header } = (await this.#askEtcd("range", { key: "AA==" })) as { readonly header: { readonly revision: string } };
    await this.#askEtcd("compaction", { revision: header.revision, physical: true }).catch((failure: Error) => {
      // Nothing was written since the last time.
      if (!failure.message.includes("required revision has been compacted")) throw failure;
    });
  }

  /** Writes objects past the API server, at most 128 at once: for tens of thousands. */
  async storeInEtcd(objects: readonly (readonly [key: string, object: object])[]): Promise<void> {
    const base64 = (text: string): string => Buffer.from(text).toString("base64");
    await this.#askEtcd("txn", { success: objects.map(([key, object]) => ({ requestPut: { key: base64(key), value: base64(JSON.stringify(object)) } })) });
  }

  async #askEtcd(path: string, body: object): Promise<unknown> {
    const answer = await fetch(`http://127.0.0.1:${this.#ports.etcd}/v3/kv/${path}`, { method: "POST", body: JSON.stringify(body) });
    if (!answer.ok) throw new Error(`etcd: ${answer.status} ${await answer.text()}`);
    return answer.json();
  }

  async stop(): Promise<void> {
    await kill(this.#apiServer);
    await kill(this.#etcd);
    await rm(this.#folder, { recursive: true });
  }

  /** Asks as an administrator, unless another token is given. */
  async call(method: string, path: string, body?: unknown, contentType = "application/json", token = ADMIN_TOKEN): Promise<{ readonly status: number; readonly body: string }> {
    const ca = await this.certificate();
    return new Promise((resolve, reject) => {
      const asked = request({ host: "127.0.0.1", port: this.port, method, path, ca, headers: { authorization: `Bearer ${token}`, "content-type": contentType } }, (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.once("error", reject);
        response.once("end", () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() }));
      });
      asked.once("error", reject);
      asked.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }

  /** Makes objects what they are given as (server-side apply), their status too. */
  async apply(...objects: readonly KubernetesObject[]): Promise<void> {
    for (const object of objects) {
      const path = pathOf(object);
      const query = "?fieldManager=test&force=true";
      const written = this.#withRealUids(object);
      const answer = await this.#mustDo(path + query, written);
      if (object.kind !== "Pod") continue;
      this.#podUids.set(path, (JSON.parse(answer) as { readonly metadata: { readonly uid: string } }).metadata.uid);
      await this.#mustDo(`${path}/status${query}`, written);
    }
  }

  /** Removes objects at once; those that are not there are none. */
  async remove(...objects: readonly KubernetesObject[]): Promise<void> {
    for (const object of objects) {
      const { status, body } = await this.call("DELETE", `${pathOf(object)}?gracePeriodSeconds=0`);
      if (status >= 300 && status !== 404) throw new Error(`${status}: ${body}`);
    }
  }

  /** The API server gives pods their uids; slices have to name those. */
  #withRealUids(object: KubernetesObject): object {
    const { uid: _uid, ...metadata } = object.metadata;
    const endpoints = (object["endpoints"] ?? []) as readonly { readonly targetRef?: { readonly namespace: string; readonly name: string } }[];
    const real = endpoints.map(({ targetRef, ...endpoint }) =>
      targetRef === undefined ? endpoint : { ...endpoint, targetRef: { ...targetRef, uid: this.#podUids.get(pathOf({ apiVersion: "v1", kind: "Pod", metadata: targetRef })) ?? "none" } },
    );
    return { ...object, metadata, ...(object.kind === "EndpointSlice" ? { endpoints: real } : {}) };
  }

  async #mustDo(path: string, object: object): Promise<string> {
    const { status, body } = await this.call("PATCH", path, object, "application/apply-patch+yaml");
    if (status >= 300) throw new Error(`${path}: ${status} ${body}`);
    return body;
  }
}

/** Of other kinds than the registry's own, those that its rights are made of. */
const OTHERS: Readonly<Record<string, { readonly group: string; readonly plural: string; readonly isNamespaced: boolean }>> = {
  Namespace: { group: "/api/v1", plural: "namespaces", isNamespaced: false },
  ServiceAccount: { group: "/api/v1", plural: "serviceaccounts", isNamespaced: true },
  Secret: { group: "/api/v1", plural: "secrets", isNamespaced: true },
  ClusterRole: { group: "/apis/rbac.authorization.k8s.io/v1", plural: "clusterroles", isNamespaced: false },
  CustomResourceDefinition: { group: "/apis/apiextensions.k8s.io/v1", plural: "customresourcedefinitions", isNamespaced: false },
  ClusterRoleBinding: { group: "/apis/rbac.authorization.k8s.io/v1", plural: "clusterrolebindings", isNamespaced: false },
};

function pathOf({ kind, metadata }: KubernetesObject): string {
  const { group, plural, isNamespaced } = kind in RESOURCES || kind in ISTIO_RESOURCES ? resourceOf(kind as SampleKind) : (OTHERS[kind] ?? { group: "", plural: kind, isNamespaced: true });
  return `${group}${isNamespaced ? `/namespaces/${metadata.namespace ?? "default"}` : ""}/${plural}/${metadata.name}`;
}

async function kill(child: ChildProcess | undefined): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.kill("SIGKILL");
  await ended;
}

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, "127.0.0.1"));
  await Promise.all(servers.map((server) => once(server, "listening")));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
