import type http from "node:http";
import type { z } from "zod";
import type { SecretBytes } from "../../../../base/secret-bytes.ts";
import { ANSWER_MARGIN_MS, AnswerContext, type ConsulEndpoint, failureOf } from "../client.ts";
import { openConnection } from "../connection.ts";
import { servicesAnswerSchema } from "../entry.ts";
import { consulFailure } from "../failure.ts";
import { checksAnswerSchema, holdersAnswerSchema, nodeAnswerSchema, nodesAnswerSchema, refusalAnswerSchema } from "./answers.ts";
import { checkIdOf, type CheckStatus, type InstanceRecord, OWNER_META, SERVICE_META, SOURCE, SOURCE_META } from "./instance.ts";
import type { Operation } from "./operations.ts";

/** With what a question is asked. */
export interface PublishQuery {
  readonly datacenter?: string | undefined;
  readonly token?: SecretBytes | undefined;
  readonly signal: AbortSignal;
}

/** The node that everything published is on, as Consul has it. */
export interface PublishedNode {
  /** Undefined where there is no such node; empty for one that says nothing of an owner. */
  readonly owner: string | undefined;
  /** What carries our mark, by id. */
  readonly instances: ReadonlyMap<string, InstanceRecord>;
  /** Services of instances on it that somebody else put there, in lower case. */
  readonly strangers: ReadonlySet<string>;
  /** The token may not read all of it. */
  readonly isFiltered: boolean;
}

/** Why one operation of a batch was refused: nothing of the batch was done. */
export interface Refusal {
  readonly operation: Operation;
  readonly reason: string;
}

/** What publishing asks of Consul; always of its leader. Rejects with a CodedError `MESH_REGISTRY_…`. */
export interface PublishClient {
  node(name: string, query: PublishQuery): Promise<PublishedNode>;
  nodesOf(owner: string, query: PublishQuery): Promise<readonly string[]>;
  /** Names of services with instances elsewhere than on the node, in lower case: Consul takes names that differ in case alone for one. Undefined where the token may not read all of them. */
  servicesBeside(node: string, query: PublishQuery): Promise<ReadonlySet<string> | undefined>;
  /** Where a service has instances that are not the owner's, in words; undefined: nowhere. */
  othersOf(service: string, owner: string, query: PublishQuery): Promise<string | undefined>;
  /** All of it or, where there are refusals, nothing. At most 128 operations. */
  write(operations: readonly Operation[], query: PublishQuery): Promise<readonly Refusal[]>;
  close(): void;
}

interface Answer<T> {
  readonly body: T;
  readonly isFiltered: boolean;
}

/** What the library takes and hands on beyond what its types tell. */
interface Options {
  readonly ctx: AnswerContext;
  readonly dc?: string;
  readonly token?: string;
  readonly timeout: number;
}
interface Library {
  readonly catalog: {
    readonly node: { list(options: Options & { readonly "node-meta": string }): Promise<unknown> };
    readonly service: {
      list(options: Options & { readonly filter: string }): Promise<unknown>;
      nodes(options: Options & { readonly service: string }): Promise<unknown>;
    };
  };
  readonly health: { node(options: Options & { readonly node: string }): Promise<unknown> };
  readonly transaction: { create(operations: readonly Operation[], options: Options): Promise<unknown> };
  /** For questions that it has no name for. */
  _get(request: Readonly<Record<string, unknown>>): Promise<http.IncomingMessage & { readonly body: unknown }>;
}

export function createPublishClient(endpoint: ConsulEndpoint): PublishClient {
  const connection = openConnection(endpoint);
  const consul = connection.library as unknown as Library;
  return {
    async node(name, query) {
      const { body, isFiltered } = await ask(query, nodeAnswerSchema, (options) => nodeServices(consul, name, options));
      const { body: checks } = await ask(query, checksAnswerSchema, (options) => consul.health.node({ node: name, ...options }));
      const statuses = new Map(checks.map(({ CheckID: id, Status: status }) => [id, status as CheckStatus]));
      const isOurs = ({ Meta: meta }: NodeService): boolean => meta[SOURCE_META] === SOURCE && meta[SERVICE_META] !== undefined;
      return {
        owner: body.Node === null ? undefined : (body.Node.Meta[OWNER_META] ?? ""),
        instances: new Map(body.Services.filter(isOurs).map((service) => [service.ID, recordOf(service, statuses.get(checkIdOf(service.ID)))])),
        strangers: new Set(body.Services.filter((service) => !isOurs(service)).map(({ Service: name }) => name.toLowerCase())),
        isFiltered,
      };
    },
    async nodesOf(owner, query) {
      const { body } = await ask(query, nodesAnswerSchema, (options) => consul.catalog.node.list({ "node-meta": `${OWNER_META}:${owner}`, ...options }));
      return body.map(({ Node: node }) => node).sort();
    },
    async servicesBeside(node, query) {
      const filter = `Node != ${JSON.stringify(node)}`;
      const { body, isFiltered } = await ask(query, servicesAnswerSchema, (options) => consul.catalog.service.list({ filter, ...options }));
      return isFiltered ? undefined : new Set(Object.keys(body).map((name) => name.toLowerCase()));
    },
    async othersOf(service, owner, query) {
      const { body, isFiltered } = await ask(query, holdersAnswerSchema, (options) => consul.catalog.service.nodes({ service, ...options }));
      const others = body.filter(({ NodeMeta: meta }) => meta[OWNER_META] !== owner).map(({ Node: node }) => node).sort();
      if (others.length > 0) return `on node ${others.slice(0, 3).join(", ")}`;
      return isFiltered ? "on a node that the token may not read" : undefined;
    },
    async write(operations, query) {
      try {
        await call(query, (options) => consul.transaction.create(operations, options));
        return [];
      } catch (thrown) {
        const refused = refusalAnswerSchema.safeParse((thrown as { response?: { body?: unknown } }).response?.body);
        if (!refused.success) throw failureOf(thrown);
        return refused.data.Errors.flatMap(({ OpIndex: at, What: reason }) => {
          const operation = operations[at];
          return operation === undefined ? [] : [{ operation, reason }];
        });
      }
    },
    close: () => connection.close(),
  };
}

type NodeService = z.output<typeof nodeAnswerSchema>["Services"][number];

function recordOf(service: NodeService, status: CheckStatus | undefined): InstanceRecord {
  return {
    service: service.Service,
    address: service.Address,
    port: service.Port,
    tags: service.Tags.toSorted(),
    meta: service.Meta,
    weight: service.Weights?.Passing ?? 1,
    status,
  };
}

/**
 * Of `/v1/catalog/node/NODE`, which the library knows, Consul 1.22 leaves out
 * what a token may read by exact name: it takes the instance's id for the name.
 */
async function nodeServices(consul: Library, node: string, { ctx, dc, token, timeout }: Options): Promise<readonly [http.IncomingMessage, unknown]> {
  const response = await consul._get({
    path: "/catalog/node-services/{node}",
    params: { node },
    query: dc === undefined ? {} : { dc },
    headers: token === undefined ? {} : { "x-consul-token": token },
    ctx,
    timeout,
  });
  return [response, response.body];
}

async function ask<T>(query: PublishQuery, schema: z.ZodType<T>, request: (options: Options) => Promise<unknown>): Promise<Answer<T>> {
  const [response, body] = await call(query, request).catch((thrown: unknown) => {
    throw failureOf(thrown);
  });
  const parsed = schema.safeParse(body);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw consulFailure("MESH_REGISTRY_MALFORMED", `consul's answer is not understood${issue === undefined ? "" : ` at ${issue.path.join(".")}: ${issue.message}`}`);
  }
  return { body: parsed.data, isFiltered: response.headers["x-consul-results-filtered-by-acls"] === "true" };
}

async function call({ datacenter, token, signal }: PublishQuery, request: (options: Options) => Promise<unknown>): Promise<readonly [http.IncomingMessage, unknown]> {
  const ctx = new AnswerContext();
  const cancel = (): unknown => ctx.emit("cancel");
  signal.throwIfAborted();
  signal.addEventListener("abort", cancel, { once: true });
  try {
    return (await request({
      ctx,
      ...(datacenter === undefined ? {} : { dc: datacenter }),
      ...(token === undefined ? {} : { token: token.revealText() }),
      timeout: ANSWER_MARGIN_MS,
    })) as readonly [http.IncomingMessage, unknown];
  } finally {
    signal.removeEventListener("abort", cancel);
  }
}
