import http from "node:http";
import type { AddressInfo } from "node:net";

/** An instance as the fake registers it. */
export interface FakeInstance {
  readonly id: string;
  readonly service: string;
  readonly node?: string;
  readonly address?: string;
  readonly port?: number;
  readonly ports?: readonly { readonly Name: string; readonly Port: number }[];
  readonly kind?: string;
  readonly tags?: readonly string[];
  readonly meta?: Readonly<Record<string, string>>;
  readonly checks?: readonly { readonly CheckID: string; readonly Name: string; readonly Status: string; readonly Output: string }[];
  readonly weights?: { readonly Passing: number; readonly Warning: number };
}

/** What is wrong with the fake, as a test wants it. */
export interface FakeFaults {
  /** Every question is answered so. */
  status?: number;
  body?: string;
  /** Connections are cut without an answer. */
  isCut?: boolean;
  isLeaderless?: boolean;
  isFiltered?: boolean;
  /** Consistent reads fail. */
  isWithoutQuorum?: boolean;
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
  #instances = new Map<string, FakeInstance>();
  #index = 10;
  /** The index at which a service, or the list (`""`), last changed. */
  #changedAt = new Map<string, number>();
  readonly #blocked = new Set<() => void>();
  #open = 0;

  /** How many questions wait for a change. */
  get held(): number {
    return this.#blocked.size;
  }

  readonly #server = http.createServer((request, response) => {
    this.#open += 1;
    this.highestOpen = Math.max(this.highestOpen, this.#open);
    response.once("close", () => (this.#open -= 1));
    void this.#answer(request, response);
  });

  async listen(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    return this;
  }

  get address(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  put(...instances: readonly FakeInstance[]): void {
    for (const instance of instances) this.#instances.set(`${instance.node ?? "n1"}/${instance.id}`, instance);
    this.#bump(instances.map(({ service }) => service));
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

  /** Wakes every blocked question, as an election or an unrelated change may. */
  wake(): void {
    for (const resume of this.#blocked) resume();
  }

  /** Cuts every connection. */
  drop(): void {
    this.#server.closeAllConnections();
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
    const service = path.startsWith("/v1/health/service/") ? path.slice("/v1/health/service/".length) : "";
    await this.#block(service, url.searchParams);
    if (response.destroyed || this.#fails(response, url.searchParams)) return;
    if (this.tokens !== undefined && token !== undefined && !this.tokens.has(token)) {
      response.writeHead(403, { "content-type": "text/plain" }).end("ACL not found");
      return;
    }
    const mayRead = (this.tokens === undefined || token !== undefined) && this.faults.isFiltered !== true;
    const body = mayRead ? this.#body(service) : service === "" ? {} : [];
    response
      .writeHead(200, {
        "content-type": "application/json",
        "x-consul-index": String(this.#changedAt.get(service) ?? this.#index),
        "x-consul-knownleader": String(this.faults.isLeaderless !== true),
        "x-consul-lastcontact": "0",
        ...(this.faults.isFiltered === true ? { "x-consul-results-filtered-by-acls": "true" } : {}),
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

  #block(service: string, query: URLSearchParams): Promise<void> {
    const from = Number(query.get("index") ?? "0");
    if (from === 0 || (this.#changedAt.get(service) ?? this.#index) > from) return Promise.resolve();
    return new Promise((resolve) => {
      const resume = (): void => {
        clearTimeout(timer);
        this.#blocked.delete(resume);
        resolve();
      };
      const timer = setTimeout(resume, Number.parseInt(query.get("wait") ?? "0", 10));
      this.#blocked.add(resume);
    });
  }

  #body(service: string): unknown {
    const instances = [...this.#instances.values()];
    if (service === "") return Object.fromEntries(instances.map((instance) => [instance.service, instance.tags ?? []]));
    return instances.filter((instance) => instance.service === service).map(entryOf);
  }
}

/** An instance in the words of `/v1/health/service`. */
export function entryOf(instance: FakeInstance): unknown {
  return {
    Node: { ID: "", Node: instance.node ?? "n1", Address: "10.0.0.1", Datacenter: "dc1", TaggedAddresses: null, Meta: null },
    Service: {
      ID: instance.id,
      Service: instance.service,
      ...(instance.kind === undefined ? {} : { Kind: instance.kind }),
      Tags: instance.tags ?? null,
      Meta: instance.meta ?? null,
      Address: instance.address ?? "",
      ...(instance.port === undefined ? {} : { Port: instance.port }),
      ...(instance.ports === undefined ? {} : { Ports: instance.ports }),
      Weights: instance.weights ?? { Passing: 1, Warning: 1 },
    },
    Checks: instance.checks ?? [],
  };
}
