import { once } from "node:events";
import http from "node:http";
import type { AddressInfo } from "node:net";

/** An instance as `/v1/txn` sets it. */
export interface CatalogService {
  readonly ID: string;
  readonly Service: string;
  readonly Address?: string;
  readonly Port?: number;
  readonly Tags?: readonly string[];
  readonly Meta?: Readonly<Record<string, string>>;
  readonly Weights?: { readonly Passing: number; readonly Warning: number };
}
interface CatalogCheck {
  readonly CheckID: string;
  readonly ServiceID: string;
  readonly Status: string;
  readonly Output: string;
}
interface CatalogNode {
  meta: Readonly<Record<string, string>>;
  readonly services: Map<string, CatalogService>;
  readonly checks: Map<string, CatalogCheck>;
}
type Body = Readonly<Record<string, unknown>>;
type TxnOperation = { readonly [part in "Node" | "Service" | "Check"]?: Body };

/**
 * Consul's catalog as its HTTP API of 1.22 was seen to write and read it
 * (transactions, what is missing, what ACLs leave out), with faults at will.
 */
export class FakeConsulCatalog {
  readonly nodes = new Map<string, CatalogNode>();
  /** Every transaction that was taken. */
  readonly transactions: (readonly TxnOperation[])[] = [];
  readonly faults: {
    isCut?: boolean;
    status?: number;
    /** Connections are cut once what was asked is done: its word is lost. */
    isAnswerLost?: boolean;
  } = {};
  /** Services that the token may not write. */
  readonly deniedServices = new Set<string>();
  /** Nodes that the token may not read. */
  readonly hiddenNodes = new Set<string>();
  /** Services that the token may not read on a node. */
  readonly hiddenServices = new Set<string>();
  isNodeDenied = false;
  /** How often it was asked what is on a node. */
  readings = 0;

  readonly #server = http.createServer((request, response) => void this.#answer(request, response));

  async listen(): Promise<this> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    return this;
  }

  get address(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** Somebody else registers an instance. */
  register(node: string, service: CatalogService): void {
    this.#nodeOf(node).services.set(service.ID, service);
  }

  servicesOf(node: string): readonly CatalogService[] {
    return [...(this.nodes.get(node)?.services.values() ?? [])];
  }

  checksOf(node: string): readonly CatalogCheck[] {
    return [...(this.nodes.get(node)?.checks.values() ?? [])];
  }

  #nodeOf(name: string): CatalogNode {
    const node = this.nodes.get(name) ?? { meta: {}, services: new Map(), checks: new Map() };
    this.nodes.set(name, node);
    return node;
  }

  async #answer(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const { isCut, status, isAnswerLost } = this.faults;
    if (isCut === true) return void response.destroy();
    if (status !== undefined) return void response.writeHead(status, { "content-type": "text/plain" }).end("No cluster leader");
    const url = new URL(request.url ?? "/", "http://consul");
    if (url.pathname === "/v1/txn") {
      const errors = this.#transact(JSON.parse(Buffer.concat(chunks).toString()) as TxnOperation[]);
      if (isAnswerLost === true) return void response.destroy();
      return void response.writeHead(errors.length > 0 ? 409 : 200, { "content-type": "application/json" }).end(JSON.stringify({ Results: null, Errors: errors }));
    }
    const { body, isFiltered } = this.#read(decodeURIComponent(url.pathname), url.searchParams);
    response
      .writeHead(200, { "content-type": "application/json", "x-consul-index": "1", ...(isFiltered ? { "x-consul-results-filtered-by-acls": "true" } : {}) })
      .end(JSON.stringify(body));
  }

  #read(path: string, query: URLSearchParams): { readonly body: unknown; readonly isFiltered: boolean } {
    const last = path.slice(path.lastIndexOf("/") + 1);
    const node = this.nodes.get(last);
    if (path.startsWith("/v1/catalog/node-services/")) {
      this.readings += 1;
      const all = [...(node?.services.values() ?? [])];
      const visible = all.filter(({ Service: name }) => !this.hiddenServices.has(name));
      return { body: { Node: node === undefined ? null : { Node: last, Meta: node.meta }, Services: node === undefined ? null : visible }, isFiltered: visible.length < all.length };
    }
    if (path.startsWith("/v1/health/node/")) return { body: [...(node?.checks.values() ?? [])], isFiltered: false };
    if (path === "/v1/catalog/nodes") {
      const [key = "", value] = (query.get("node-meta") ?? "").split(":");
      return { body: [...this.nodes].filter(([, { meta }]) => meta[key] === value).map(([name]) => ({ Node: name })), isFiltered: false };
    }
    if (path === "/v1/catalog/services") {
      const [, except] = /^Node != "(.+)"$/.exec(query.get("filter") ?? "") ?? [];
      const beside = [...this.nodes].filter(([name]) => name !== except);
      const visible = beside.filter(([name]) => !this.hiddenNodes.has(name));
      const names = visible.flatMap(([, { services }]) => [...services.values()].map(({ Service: name }) => name));
      return { body: Object.fromEntries(names.map((name) => [name, []])), isFiltered: visible.length < beside.length };
    }
    if (path.startsWith("/v1/catalog/service/")) {
      const holders = [...this.nodes].filter(([, { services }]) => [...services.values()].some(({ Service: name }) => name.toLowerCase() === last.toLowerCase()));
      const visible = holders.filter(([name]) => !this.hiddenNodes.has(name));
      return { body: visible.map(([name, { meta }]) => ({ Node: name, NodeMeta: meta })), isFiltered: visible.length < holders.length };
    }
    throw new Error(`the fake does not know ${path}`);
  }

  /** Everything or nothing. */
  #transact(operations: readonly TxnOperation[]): { readonly OpIndex: number; readonly What: string }[] {
    const denied = (what: string): string => `Permission denied: token with AccessorID 'x' lacks permission '${what}'`;
    const errors = operations.flatMap(({ Node: node, Service: service, Check: check }, at) => {
      const name = (service?.["Service"] as CatalogService | undefined)?.Service ?? ((check?.["Check"] as Body | undefined)?.["ServiceName"] as string | undefined);
      const what = node !== undefined && this.isNodeDenied ? denied("node:write")
        : name === "" ? "Must provide service name (Service.Service) when service ID is provided"
        : name !== undefined && this.deniedServices.has(name) ? denied("service:write")
        : undefined;
      return what === undefined ? [] : [{ OpIndex: at, What: what }];
    });
    if (errors.length > 0) return errors;
    const sets = new Set(operations.flatMap(({ Node: node }) => (node?.["Verb"] === "set" ? [(node["Node"] as { Node: string }).Node] : [])));
    const homeless = operations.findIndex(({ Service: service }) => service?.["Verb"] === "set" && !sets.has(service["Node"] as string) && !this.nodes.has(service["Node"] as string));
    if (homeless !== -1) return [{ OpIndex: homeless, What: "Missing node registration" }];
    for (const operation of operations) this.#apply(operation);
    this.transactions.push(operations);
    return [];
  }

  #apply({ Node: node, Service: service, Check: check }: TxnOperation): void {
    if (node !== undefined) {
      const { Node: name, Meta: meta = {} } = node["Node"] as { Node: string; Meta?: Record<string, string> };
      if (node["Verb"] === "delete") this.nodes.delete(name);
      else this.#nodeOf(name).meta = meta;
    } else if (service !== undefined) {
      const content = service["Service"] as CatalogService;
      const { services, checks } = this.#nodeOf(service["Node"] as string);
      if (service["Verb"] === "set") return void services.set(content.ID, content);
      services.delete(content.ID);
      for (const [id, { ServiceID: owner }] of checks) if (owner === content.ID) checks.delete(id);
    } else if (check !== undefined) {
      const content = check["Check"] as CatalogCheck & { readonly Node: string };
      this.#nodeOf(content.Node).checks.set(content.CheckID, content);
    }
  }
}
