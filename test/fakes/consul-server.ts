import http from "node:http";
import http2 from "node:http2";
import https from "node:https";
import type { AddressInfo, Socket } from "node:net";
import type { TLSSocket } from "node:tls";

/** An instance as the fake registers it. */
export interface FakeInstance {
  readonly id: string;
  readonly service: string;
  readonly node?: string;
  readonly nodeTaggedAddresses?: Readonly<Record<string, string>>;
  readonly address?: string;
  readonly port?: number;
  readonly ports?: readonly { readonly Name: string; readonly Port: number }[];
  readonly kind?: string;
  readonly sidecarOf?: { readonly service: string; readonly id: string };
  readonly taggedAddresses?: Readonly<Record<string, { readonly Address: string; readonly Port?: number }>>;
  readonly socketPath?: string;
  readonly isConnectNative?: boolean;
  readonly tags?: readonly string[];
  readonly meta?: Readonly<Record<string, string>>;
  readonly checks?: readonly { readonly CheckID: string; readonly Name: string; readonly Status: string; readonly Output: string; readonly Notes?: string }[];
  readonly weights?: { readonly Passing: number; readonly Warning: number };
}

/** What the fake has, as of some moment. */
export interface FakeState {
  readonly instances: ReadonlyMap<string, FakeInstance>;
  /** The index at which a service, or the list (`""`), last changed. */
  readonly changedAt: ReadonlyMap<string, number>;
  readonly index: number;
}

/** What is wrong with the fake, as a test wants it. */
export interface FakeFaults {
  /** Every question is answered so. */
  status?: number;
  body?: string;
  /** Connections are cut without an answer. */
  isCut?: boolean;
  isLeaderless?: boolean;
  /** Stale reads are answered out of this: the server lags behind its leader. */
  past?: FakeState;
  /** Stale reads tell an index that is so much lower than the leader's. */
  staleIndexLag?: number;
  isFiltered?: boolean;
  /** What is there is given, and Consul says that something was left out. */
  isPartlyFiltered?: boolean;
  /** Services that are left out, of which Consul says that something was. */
  hidden?: ReadonlySet<string>;
  /** The list of names may be read, and no service. */
  isHealthDenied?: boolean;
  /** These services cannot be read, by no fault of the token's. */
  broken?: ReadonlySet<string>;
  /** Of these services the answer ends in the middle of its JSON. */
  garbled?: ReadonlySet<string>;
  /** Consistent reads fail. */
  isWithoutQuorum?: boolean;
}

/** How the fake is spoken to over TLS. PEM. */
export interface FakeTls {
  readonly certificate: string;
  readonly key: string;
  /** Signs the certificates of clients that may ask; absent: any may. */
  readonly clientRoot?: string;
  /** False: HTTP/1.1 only, as of something that terminates TLS before Consul. */
  readonly hasHttp2: boolean;
}

export interface FakeQuestion {
  readonly path: string;
  readonly query: URLSearchParams;
  readonly token: string | undefined;
}

/**
 * The part of Consul's HTTP API that the registry uses, as Consul 1.22 was seen
 * to behave (blocking queries, headers, ACLs), with faults at will.
 */
export class FakeConsul {
  readonly faults: FakeFaults = {};
  readonly questions: FakeQuestion[] = [];
  /** Tokens that may read; undefined: no ACLs. */
  tokens: ReadonlySet<string> | undefined;
  highestOpen = 0;
  /** Names that clients asked for in their TLS handshakes. */
  readonly serverNames: (string | false | null)[] = [];
  /** How many were made. */
  connections = 0;
  #instances = new Map<string, FakeInstance>();
  readonly #criticalNodes = new Set<string>();
  #index = 10;
  #changedAt = new Map<string, number>();
  /** By what wakes them: what they are about. */
  readonly #blocked = new Map<() => void, string>();
  #open = 0;

  /** How many questions wait for a change. */
  get held(): number {
    return this.#blocked.size;
  }

  /** How many are open. */
  get openConnections(): number {
    return this.#sockets.size;
  }

  readonly #sockets = new Set<Socket>();
  readonly #server: http.Server | https.Server;
  readonly #isTls: boolean;

  constructor(tls?: FakeTls) {
    const listener = (request: http.IncomingMessage, response: http.ServerResponse): void => {
      this.#open += 1;
      this.highestOpen = Math.max(this.highestOpen, this.#open);
      response.once("close", () => (this.#open -= 1));
      void this.#answer(request, response);
    };
    this.#isTls = tls !== undefined;
    this.#server = tls === undefined ? http.createServer(listener) : createTlsServer(tls, listener);
    this.#server.on("secureConnection", ({ servername }: TLSSocket) => this.serverNames.push(servername));
    this.#server.on("connection", (socket: Socket) => {
      this.connections += 1;
      this.#sockets.add(socket);
      socket.once("close", () => this.#sockets.delete(socket));
    });
  }

  async listen(port = 0): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(port, "127.0.0.1", resolve));
    return this;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get address(): string {
    return this.#isTls ? `https://localhost:${this.port}` : `http://127.0.0.1:${this.port}`;
  }

  put(...instances: readonly FakeInstance[]): void {
    for (const instance of instances) this.#instances.set(`${instance.node ?? "n1"}/${instance.id}`, instance);
    this.#bump(instances.map(({ service }) => service));
  }

  /** The same instance with other checks: the list of names does not hear of it. */
  setChecks(id: string, checks: NonNullable<FakeInstance["checks"]>): void {
    this.#index += 1;
    for (const [key, instance] of this.#instances) {
      if (instance.id !== id) continue;
      this.#instances.set(key, { ...instance, checks });
      for (const subject of [instance.service, "state/warning", "state/critical"]) this.#changedAt.set(subject, this.#index);
    }
    this.wake();
  }

  /** The check of a whole node: the list of names does not hear of it. */
  setNodeCheck(node: string, status: "passing" | "critical"): void {
    this.#index += 1;
    if (status === "critical") this.#criticalNodes.add(node);
    else this.#criticalNodes.delete(node);
    const services = [...this.#instances.values()].flatMap((instance) => ((instance.node ?? "n1") === node ? [instance.service] : []));
    for (const subject of [...services, "state/critical"]) this.#changedAt.set(subject, this.#index);
    this.wake();
  }

  remove(...ids: readonly string[]): void {
    const gone = [...this.#instances].filter(([, { id }]) => ids.includes(id));
    for (const [key] of gone) this.#instances.delete(key);
    this.#bump(gone.map(([, { service }]) => service));
  }

  /** Forgets everything and counts from the beginning, as a server that lost its data. */
  reset(): void {
    this.#instances = new Map();
    this.#changedAt = new Map();
    this.#index = 1;
    this.drop();
  }

  /** As it is now, to be its past later. */
  state(): FakeState {
    return { instances: new Map(this.#instances), changedAt: new Map(this.#changedAt), index: this.#index };
  }

  /** Wakes every blocked question, as an election or an unrelated change may; or those about one service, or the list (`""`). */
  wake(about?: string): void {
    for (const [resume, subject] of this.#blocked) if (about === undefined || subject === about) resume();
  }

  /** Cuts every connection. */
  drop(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.wake();
  }

  async close(): Promise<void> {
    this.drop();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #bump(services: readonly string[]): void {
    this.#index += 1;
    for (const service of ["", ...services]) this.#changedAt.set(service, this.#index);
    this.wake();
  }

  async #answer(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", "http://consul");
    const token = request.headers["x-consul-token"] as string | undefined;
    const path = decodeURIComponent(url.pathname);
    this.questions.push({ path, query: url.searchParams, token });
    if (this.#fails(response, url.searchParams)) return;
    const subject = subjectOf(path);
    await this.#block(subject, url.searchParams, response);
    if (response.destroyed || this.#fails(response, url.searchParams)) return;
    if (this.tokens !== undefined && token !== undefined && !this.tokens.has(token)) {
      response.writeHead(403, { "content-type": "text/plain" }).end("ACL not found");
      return;
    }
    if (this.faults.broken?.has(subject) === true) {
      response.writeHead(500, { "content-type": "text/plain" }).end("rpc error: too much");
      return;
    }
    if (this.faults.isHealthDenied === true && path.startsWith("/v1/health/service/")) {
      response.writeHead(403, { "content-type": "text/plain" }).end("Permission denied");
      return;
    }
    if (this.faults.garbled?.has(subject) === true) {
      response.writeHead(200, { "content-type": "application/json", "x-consul-index": String(this.#index) }).end('[{"Node":');
      return;
    }
    const mayRead = (this.tokens === undefined || token !== undefined) && this.faults.isFiltered !== true;
    const isStale = !url.searchParams.has("consistent");
    const state = (isStale ? this.faults.past : undefined) ?? this.state();
    const body = mayRead ? this.#body(subject, state) : subject === "" ? {} : [];
    response
      .writeHead(200, {
        "content-type": "application/json",
        "x-consul-index": String(lastChange(subject, state) - (isStale ? (this.faults.staleIndexLag ?? 0) : 0)),
        "x-consul-knownleader": String(this.faults.isLeaderless !== true),
        "x-consul-lastcontact": "0",
        ...(this.faults.isFiltered === true || this.faults.isPartlyFiltered === true || this.faults.hidden !== undefined ? { "x-consul-results-filtered-by-acls": "true" } : {}),
        ...(this.tokens === undefined ? {} : { "x-consul-default-acl-policy": "deny" }),
      })
      .end(JSON.stringify(body));
  }

  #fails(response: http.ServerResponse, query: URLSearchParams): boolean {
    const { status, body = "", isCut, isWithoutQuorum } = this.faults;
    if (isCut === true) response.destroy();
    else if (status !== undefined) response.writeHead(status, { "content-type": "text/plain" }).end(body);
    else if (isWithoutQuorum === true && query.has("consistent")) response.writeHead(500, { "content-type": "text/plain" }).end("No cluster leader");
    else return false;
    return true;
  }

  #block(service: string, query: URLSearchParams, response: http.ServerResponse): Promise<void> {
    const from = Number(query.get("index") ?? "0");
    if (from === 0 || lastChange(service, this.state()) > from) return Promise.resolve();
    return new Promise((resolve) => {
      const resume = (): void => {
        clearTimeout(timer);
        this.#blocked.delete(resume);
        resolve();
      };
      const timer = setTimeout(resume, Number.parseInt(query.get("wait") ?? "0", 10));
      this.#blocked.set(resume, service);
      // Who asked has gone.
      response.once("close", resume);
    });
  }

  #body(subject: string, state: FakeState): unknown {
    const instances = [...state.instances.values()].filter(({ service }) => this.faults.hidden?.has(service) !== true);
    if (subject === "nodes") return [];
    if (subject.startsWith("state/")) {
      const ofNodes = subject === "state/critical" ? [...this.#criticalNodes].map((Node) => ({ Node, CheckID: "serfHealth", ServiceName: "", ServiceID: "" })) : [];
      const ofServices = instances.flatMap(({ node = "n1", id, service, checks = [] }) =>
        checks.filter(({ Status }) => `state/${Status}` === subject).map(({ CheckID }) => ({ Node: node, CheckID: `${id}:${CheckID}`, ServiceName: service, ServiceID: id })),
      );
      return [...ofNodes, ...ofServices];
    }
    if (subject === "") return Object.fromEntries(instances.map((instance) => [instance.service, instance.tags ?? []]));
    return instances.filter((instance) => instance.service === subject).map((instance) => {
      const { node = "n1", checks = [] } = instance;
      return entryOf(this.#criticalNodes.has(node) ? { ...instance, checks: [...checks, { CheckID: "serfHealth", Name: "Serf Health Status", Status: "critical", Output: "" }] } : instance);
    });
  }
}

/** That of a service that does not exist is the whole catalog's, as with the real one. */
function lastChange(subject: string, { changedAt, index }: FakeState): number {
  const known = changedAt.get(subject);
  if (known !== undefined) return known;
  return subject === "nodes" || subject.startsWith("state/") ? 1 : index;
}

function createTlsServer({ certificate, key, clientRoot, hasHttp2 }: FakeTls, listener: http.RequestListener): https.Server {
  const options = { cert: certificate, key, ...(clientRoot === undefined ? {} : { ca: clientRoot, requestCert: true, rejectUnauthorized: true }) };
  if (!hasHttp2) return https.createServer(options, listener);
  // Few streams for a connection, so that a test needs several.
  const server = http2.createSecureServer({ ...options, settings: { maxConcurrentStreams: 20 } });
  server.on("request", (request, response) => listener(request as unknown as http.IncomingMessage, response as unknown as http.ServerResponse & { req: http.IncomingMessage }));
  return server as unknown as https.Server;
}

/** What a question is about: a service by its name, the list of names (`""`), `state/critical`, `nodes`. */
function subjectOf(path: string): string {
  for (const prefix of ["/v1/health/service/", "/v1/health/", "/v1/catalog/"]) if (path.startsWith(prefix)) return path.slice(prefix.length).replace(/^services$/, "");
  return "";
}

/** An instance in the words of `/v1/health/service`. */
export function entryOf(instance: FakeInstance): unknown {
  return {
    Node: { ID: "", Node: instance.node ?? "n1", Address: "10.0.0.1", Datacenter: "dc1", TaggedAddresses: instance.nodeTaggedAddresses ?? null, Meta: null },
    Service: {
      ID: instance.id,
      Service: instance.service,
      ...(instance.kind === undefined ? {} : { Kind: instance.kind }),
      Tags: instance.tags ?? null,
      Meta: instance.meta ?? null,
      Address: instance.address ?? "",
      ...(instance.port === undefined ? {} : { Port: instance.port }),
      ...(instance.ports === undefined ? {} : { Ports: instance.ports }),
      ...(instance.taggedAddresses === undefined ? {} : { TaggedAddresses: instance.taggedAddresses }),
      ...(instance.socketPath === undefined ? {} : { SocketPath: instance.socketPath }),
      ...(instance.isConnectNative === undefined ? {} : { Connect: { Native: instance.isConnectNative } }),
      ...(instance.sidecarOf === undefined ? {} : { Proxy: { DestinationServiceName: instance.sidecarOf.service, DestinationServiceID: instance.sidecarOf.id } }),
      Weights: instance.weights ?? { Passing: 1, Warning: 1 },
    },
    Checks: instance.checks ?? [],
  };
}
