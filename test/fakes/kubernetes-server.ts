import http from "node:http";
import type { AddressInfo } from "node:net";
import { ISTIO_RESOURCES, resourceOf, RESOURCES } from "../support/kubernetes-objects.ts";
import type { KubernetesObject, SampleKind } from "../support/kubernetes-objects.ts";

/** What is wrong with the fake, as a test wants it. */
export interface KubernetesFaults {
  /** Every question is answered so, or those of one kind (`nodes`). */
  status?: number;
  statusOf?: Partial<Record<string, number>>;
  /** With every such answer. */
  retryAfterSeconds?: number;
  /** Connections are cut without an answer. */
  isCut?: boolean;
  /** It has begun just now: its own service is not there yet. */
  isNew?: boolean;
  /** Every answer to a list is followed by a change of something else. */
  isChangedByLists?: boolean;
  /** Watches that there would be something for die without a word: they stay open and say nothing any more. */
  isSilent?: boolean;
}

export interface KubernetesQuestion {
  readonly path: string;
  /** `services` */
  readonly plural: string;
  readonly query: URLSearchParams;
  readonly token: string | undefined;
}

interface Event {
  readonly type: string;
  readonly version: number;
  readonly plural: string;
  readonly object: KubernetesObject;
}

interface OpenWatch {
  readonly plural: string;
  readonly response: http.ServerResponse;
  isDead: boolean;
}

/** The part of the Kubernetes API that the registry uses, as kube-apiserver 1.36 was seen to behave, with faults at will. */
export class FakeKubernetes {
  readonly faults: KubernetesFaults = {};
  readonly questions: KubernetesQuestion[] = [];
  /** Bearer tokens that may read; undefined: everybody. */
  tokens: ReadonlySet<string> | undefined;
  /** Versions in which it serves Istio's kinds, the preferred first; none: they are not installed. */
  istioVersions: readonly string[] = [];
  /** Plurals of those that are not installed all the same. */
  readonly lacking = new Set<string>();
  #objects = new Map<string, KubernetesObject>();
  #events: Event[] = [];
  #version = 100;
  /** Events up to here are forgotten: whoever asks from before is told 410. */
  #compactedTo = 0;
  #uids = 0;
  #clusterUid = "cluster-1";
  readonly #watches = new Set<OpenWatch>();
  readonly #server = http.createServer((request, response) => this.#answer(request, response));

  async listen(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    return this;
  }

  get address(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** What a registry needs to ask it: plain HTTP is only allowed where certificates are not checked. */
  kubeconfig(token = ""): string {
    return JSON.stringify({
      apiVersion: "v1",
      kind: "Config",
      clusters: [{ name: "fake", cluster: { server: this.address, "insecure-skip-tls-verify": true } }],
      users: [{ name: "reader", user: token === "" ? {} : { token } }],
      contexts: [{ name: "fake", context: { cluster: "fake", user: "reader" } }],
      "current-context": "fake",
    });
  }

  get watching(): number {
    return this.#watches.size;
  }

  /** The resource version that the newest change has. */
  get version(): number {
    return this.#version;
  }

  put(...objects: readonly KubernetesObject[]): void {
    for (const object of objects) {
      const key = keyOf(object);
      const before = this.#objects.get(key);
      const uid = object.metadata["uid"] ?? before?.metadata["uid"] ?? `uid-${(this.#uids += 1)}`;
      this.#version += 1;
      const stored = { ...object, metadata: { ...object.metadata, uid, resourceVersion: String(this.#version), managedFields: [{ manager: "fake" }] } };
      this.#objects.set(key, stored);
      this.#tell(before === undefined ? "ADDED" : "MODIFIED", stored);
    }
  }

  remove(...objects: readonly { readonly kind: string; readonly metadata: { readonly name: string; readonly namespace?: string } }[]): void {
    for (const object of objects) {
      const before = this.#objects.get(keyOf(object));
      if (before === undefined) continue;
      this.#objects.delete(keyOf(object));
      this.#version += 1;
      this.#tell("DELETED", { ...before, metadata: { ...before.metadata, resourceVersion: String(this.#version) } });
    }
  }

  all(kind: SampleKind): KubernetesObject[] {
    return [...this.#objects.values()].filter((object) => object.kind === kind);
  }

  /** Tells every watch of the version, as each minute. */
  bookmark(): void {
    const bookmark = { type: "BOOKMARK", object: { kind: "Any", metadata: { resourceVersion: String(this.#version), creationTimestamp: null } } };
    for (const watch of this.#watches) this.#say(watch, bookmark);
  }

  /** Says the last events of every watch again, in the order that is asked for. */
  repeat(count: number, order: "same" | "reversed"): void {
    for (const watch of this.#watches) {
      const last = this.#events.filter((event) => event.plural === watch.plural).slice(-count);
      for (const event of order === "same" ? last : last.toReversed()) this.#say(watch, event);
    }
  }

  /** Forgets what happened, so that watches cannot go on from before. */
  compact(): void {
    this.#events = [];
    this.#compactedTo = this.#version;
  }

  /** Ends watches as a server that has had enough of them: with the error 410 in their stream. */
  expire(): void {
    this.compact();
    for (const { response } of this.#watches) {
      write(response, { type: "ERROR", object: { kind: "Status", status: "Failure", code: 410, reason: "Expired", message: "too old resource version" } });
      response.end();
    }
  }

  /** Counts on from far away, as a cluster of some age. */
  grow(): void {
    this.#version += 1_000_000;
  }

  /** Comes back with an older state, in which the object was not yet, under newer versions: nothing tells of it. */
  forget(object: KubernetesObject): void {
    this.#objects.delete(keyOf(object));
    this.grow();
  }

  /** Loses its data and counts from the beginning, as an etcd that was wiped. */
  reset(): void {
    this.#objects = new Map();
    this.#events = [];
    this.#version = 1;
    this.#compactedTo = 0;
    this.#clusterUid = `cluster-${(this.#uids += 1)}`;
    this.drop();
  }

  /** Ends every watch in order, as its timeout does. */
  endWatches(): void {
    for (const { response } of this.#watches) response.end();
  }

  /** Cuts every connection. */
  drop(): void {
    this.#server.closeAllConnections();
  }

  async close(): Promise<void> {
    this.drop();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #tell(type: string, object: KubernetesObject): void {
    const { plural } = resourceOf(object.kind as SampleKind);
    const event = { type, version: this.#version, plural, object };
    this.#events.push(event);
    for (const watch of this.#watches) if (watch.plural === plural) this.#say(watch, event);
  }

  #say(watch: OpenWatch, event: { readonly type: string; readonly object: unknown }): void {
    watch.isDead ||= this.faults.isSilent === true;
    if (!watch.isDead) write(watch.response, event);
  }

  #answer(request: http.IncomingMessage, response: http.ServerResponse): void {
    const url = new URL(request.url ?? "/", "http://kubernetes");
    const kind = this.#kindAt(url.pathname);
    const { plural } = kind === undefined ? { plural: "" } : resourceOf(kind);
    const described = kind === undefined ? this.#describe(url.pathname) : undefined;
    const token = request.headers.authorization?.replace(/^Bearer /, "");
    this.questions.push({ path: url.pathname, plural, query: url.searchParams, token });
    const { isCut, status, statusOf, retryAfterSeconds } = this.faults;
    const isCluster = url.pathname === "/api/v1/namespaces/default/services";
    const refused = status ?? statusOf?.[plural] ?? (this.tokens !== undefined && !this.tokens.has(token ?? "") ? 401 : kind === undefined && described === undefined && !isCluster ? 404 : undefined);
    const isAll = status !== undefined || plural === "";
    if (isCut === true) response.destroy();
    else if (refused !== undefined) fail(response, refused, `refused by the fake${isAll ? "" : ` to whoever asks for ${plural}`}`, retryAfterSeconds);
    else if (isCluster) this.#identify(response);
    else if (described !== undefined) response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(described));
    else if (url.searchParams.get("watch") === "true") this.#watch(plural, url.searchParams, response);
    else this.#list(kind as SampleKind, url.searchParams, response);
  }

  #kindAt(path: string): SampleKind | undefined {
    const core = (Object.keys(RESOURCES) as SampleKind[]).find((one) => path === `${resourceOf(one).group}/${resourceOf(one).plural}`);
    return core ?? this.#installed().find(([group, version, kind]) => path === `/apis/${group}/${version}/${resourceOf(kind).plural}`)?.[2];
  }

  #installed(): [group: string, version: string, kind: SampleKind][] {
    const kinds = (Object.keys(ISTIO_RESOURCES) as (keyof typeof ISTIO_RESOURCES)[]).filter((kind) => !this.lacking.has(ISTIO_RESOURCES[kind].plural));
    return this.istioVersions.flatMap((version) => kinds.map((kind): [string, string, SampleKind] => [ISTIO_RESOURCES[kind].group.split("/")[2] ?? "", version, kind]));
  }

  /** What it says of a group of its API, or of a version of it. */
  #describe(path: string): object | undefined {
    const [, , group = "", version] = path.split("/");
    const installed = this.#installed().filter((one) => one[0] === group && (version === undefined || one[1] === version));
    if (installed.length === 0) return undefined;
    if (version !== undefined) return { kind: "APIResourceList", resources: installed.map(([, , kind]) => ({ name: resourceOf(kind).plural, kind })) };
    const versions = [...new Set(installed.map((one) => one[1]))].map((one) => ({ groupVersion: `${group}/${one}`, version: one }));
    return { kind: "APIGroup", name: group, versions, preferredVersion: versions[0] };
  }

  /** The list of the cluster's own service, which is in no other list here. */
  #identify(response: http.ServerResponse): void {
    const resourceVersion = String(this.#version);
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ metadata: { resourceVersion }, items: this.faults.isNew === true ? [] : [{ metadata: { name: "kubernetes", namespace: "default", uid: this.#clusterUid, resourceVersion } }] }));
  }

  #list(kind: SampleKind, query: URLSearchParams, response: http.ServerResponse): void {
    const limit = Number(query.get("limit") ?? "0");
    const [at = "0", from = String(this.#version)] = (query.get("continue") ?? "").split("@").filter((part) => part !== "");
    // The fake keeps no old states: a list that goes on after a change is one that expired.
    if (from !== String(this.#version)) return fail(response, 410, "the provided continue parameter is too old");
    if (this.faults.isChangedByLists === true) this.#version += 1;
    const all = this.all(kind);
    const end = limit === 0 ? all.length : Number(at) + limit;
    const next = end < all.length ? `${end}@${from}` : undefined;
    response.writeHead(200, { "content-type": "application/json" }).end(
      JSON.stringify({ kind: `${kind}List`, metadata: { resourceVersion: from, ...(next === undefined ? {} : { continue: next }) }, items: all.slice(Number(at), end) }),
    );
  }

  #watch(plural: string, query: URLSearchParams, response: http.ServerResponse): void {
    const from = Number(query.get("resourceVersion"));
    if (from < this.#compactedTo) return fail(response, 410, "too old resource version");
    response.writeHead(200, { "content-type": "application/json" });
    response.flushHeaders();
    const watch: OpenWatch = { plural, response, isDead: false };
    this.#watches.add(watch);
    response.once("close", () => this.#watches.delete(watch));
    // From a version that is still to come it is silent until then, as the real one.
    for (const event of this.#events) if (event.plural === plural && event.version > from) this.#say(watch, event);
  }
}

function keyOf({ kind, metadata }: { readonly kind: string; readonly metadata: { readonly name: string; readonly namespace?: string } }): string {
  return `${kind}/${metadata.namespace ?? ""}/${metadata.name}`;
}

function write(response: http.ServerResponse, { type, object }: { readonly type: string; readonly object: unknown }): void {
  if (!response.writableEnded) response.write(`${JSON.stringify({ type, object })}\n`);
}

function fail(response: http.ServerResponse, code: number, message: string, retryAfterSeconds?: number): void {
  response
    .writeHead(code, { "content-type": "application/json", ...(retryAfterSeconds === undefined ? {} : { "retry-after": String(retryAfterSeconds) }) })
    .end(JSON.stringify({ kind: "Status", status: "Failure", message, code }));
}
