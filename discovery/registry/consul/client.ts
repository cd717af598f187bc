import { EventEmitter } from "node:events";
import type http from "node:http";
import type Consul from "consul";
import { z } from "zod";
import { CodedError, messageOf } from "../../../base/coded-error.ts";
import type { SecretBytes } from "../../../base/secret-bytes.ts";
import { openConnection } from "./connection.ts";
import type { ConnectionOptions } from "./connection.ts";
import { type AgentSettings, agentSettingsSchema, type ConsulEntry, configAnswerSchema, healthAnswerSchema, servicesAnswerSchema, stateAnswerSchema } from "./entry.ts";
import type { ConsulCheckPlace } from "./entry.ts";
import { consulFailure, failureOfStatus, failureOfTransport, isOfTheWay, TRANSIENT } from "./failure.ts";
import { Standing } from "./standing.ts";

/** How to reach a Consul cluster. */
export interface ConsulEndpoint extends ConnectionOptions {
  /** Other agents of the same cluster, asked in turn when one does not answer. */
  readonly otherAddresses?: readonly string[] | undefined;
  /** Answer stale reads out of the agent's own cache, which it keeps by streaming (`?cached`). */
  readonly usesAgentCache?: boolean;
  /** Of Consul Enterprise. */
  readonly partition?: string | undefined;
  readonly consulNamespace?: string | undefined;
}

export interface ConsulQuery {
  readonly datacenter?: string | undefined;
  readonly token?: SecretBytes | undefined;
  /** What the answer before had; 0 for none. */
  readonly index: bigint;
  /** That answer was not all there is: the token may read more by now, which no index tells. */
  readonly wasFiltered?: boolean;
  /** How long Consul may wait for something newer than the index; 0: it answers at once. */
  readonly waitMs: number;
  /** `stale`: any server may answer; `consistent`: the leader, after it has asked its followers. */
  readonly mode: "stale" | "consistent";
  readonly signal: AbortSignal;
}

/** What Consul says about an answer in headers. */
export interface ConsulAnswer<T> {
  /** Undefined: the same as in the answer that had `query.index`, which was all there is. */
  readonly body: T | undefined;
  /** At least 1. */
  readonly index: bigint;
  readonly isLeaderKnown: boolean;
  /** Something was left out, because the token may not read it. */
  readonly isFiltered: boolean;
  /** What Consul does about rights that nobody gave: `allow`, `deny`, or empty without ACLs. */
  readonly defaultPolicy: string;
}

/** The questions that the registry asks, and the import's. Each rejects with a CodedError `MESH_REGISTRY_…`. */
export interface ConsulClient {
  services(query: ConsulQuery): Promise<ConsulAnswer<readonly string[]>>;
  health(service: string, query: ConsulQuery): Promise<ConsulAnswer<readonly ConsulEntry[]>>;
  /** All checks of the cluster that are in this state. */
  checks(state: "warning" | "critical", query: ConsulQuery): Promise<ConsulAnswer<readonly ConsulCheckPlace[]>>;
  /** When a node was registered, changed or removed; which one is not told. */
  nodes(query: ConsulQuery): Promise<ConsulAnswer<unknown>>;
  /** All config entries of a kind, as they are; undefined where Consul does not know the kind. */
  configEntries(kind: string, query: ConsulQuery): Promise<ConsulAnswer<readonly unknown[]> | undefined>;
  /** What the agent says of its own configuration: not of that of a datacenter that is asked through it. */
  agentSettings(query: ConsulQuery): Promise<ConsulAnswer<AgentSettings>>;
  /** How many questions may wait for a change at a time. */
  capacity(): number;
  close(): void;
}

/** What the package takes and hands on beyond what its types tell. */
interface LibraryOptions {
  readonly ctx: AnswerContext;
  readonly dc?: string;
  readonly token?: string;
  readonly index?: string;
  readonly wait?: string;
  readonly stale: boolean;
  readonly consistent: boolean;
  readonly timeout: number;
}

/** Tells the package to give headers as well, and to abort on `cancel`. */
export class AnswerContext extends EventEmitter {
  readonly includeResponse = true;
  /** Sent beside what the package knows. */
  readonly parameters: readonly (readonly [string, string])[];

  constructor(parameters: readonly (readonly [string, string])[] = []) {
    super();
    this.parameters = parameters;
  }
}

/** What Consul answers, with status 500, about a kind that it does not know. */
const UNKNOWN_KIND = "invalid config entry kind";

/** What the library hands to a middleware once it has an answer, or has none. */
interface LibraryExchange {
  readonly err?: Error & { response?: unknown };
  readonly res: http.IncomingMessage & { readonly body: unknown };
}

/** What the library has no call for is asked by its own one below all calls. */
interface LibraryRequests {
  _get(request: Readonly<Record<string, unknown>>, finish: (exchange: LibraryExchange, next: (again: boolean, failure?: Error, result?: unknown) => void) => void): Promise<unknown>;
}

function listConfigEntries(consul: Consul, kind: string, options: LibraryOptions): Promise<unknown> {
  const { dc, consistent } = options;
  const query = { ...(dc === undefined ? {} : { dc }), ...(consistent ? { consistent: "1" } : { stale: "1" }) };
  return getDirectly(consul, { name: "config.list", path: "/config/{kind}", params: { kind }, query }, options);
}

function getDirectly(consul: Consul, asked: Readonly<Record<string, unknown>>, { ctx, token, timeout }: LibraryOptions): Promise<unknown> {
  const request = { ...asked, headers: token === undefined ? {} : { "x-consul-token": token }, ctx, timeout };
  return (consul as unknown as LibraryRequests)._get(request, ({ err, res }, next) => {
    if (err === undefined) return next(false, undefined, [res, res.body]);
    err.response = res;
    next(false, err);
  });
}

/** Time for an answer that Consul has: connecting, a busy server, a slow line. */
export const ANSWER_MARGIN_MS = 15_000;
/** Names of questions. That of the list tells of the agent as a whole: without it nothing goes on. */
const LIST = "services";
const OF_SERVICE = "service ";
/** Of these an agent may be the cause; of the others it is what is asked, or who asks. */
const MAY_BE_THE_AGENTS: ReadonlySet<string> = new Set([...TRANSIENT, "MESH_REGISTRY_MALFORMED"]);
/** An agent that failed, or knew no leader, is not preferred to another such one for so long. */
const TROUBLE_MEMORY_MS = 10_000;
/** Matches no node: the index of the answer is all that is wanted. */
const NO_NODE = 'Node == ""';

/** A client over the `consul` package, whose own watch knows neither jitter nor a reset after errors. */
export function createConsulClient(endpoint: ConsulEndpoint): ConsulClient {
  const { otherAddresses = [], partition, consulNamespace } = endpoint;
  const connections = [endpoint.address, ...otherAddresses].map((address) => ({ ...openConnection({ ...endpoint, address }), standing: new Standing() }));
  let current = 0;
  /** When each failed last or knew no leader, by a clock that nobody sets. */
  const troubledAt = connections.map(() => -TROUBLE_MEMORY_MS);
  for (const { library } of connections) (library as unknown as ExtensibleLibrary)._ext("onRequest", addParameters);
  const common: [string, string][] = [
    ...(partition === undefined ? [] : [["partition", partition] as [string, string]]),
    ...(consulNamespace === undefined ? [] : [["ns", consulNamespace] as [string, string]]),
  ];

  // Consul refuses it beside `consistent`.
  const cached: [string, string][] = endpoint.usesAgentCache === true ? [["cached", ""]] : [];

  /** An agent cannot, or not well. One that answers without a leader makes way only for one that may know more. */
  function leave(asked: number, canAnswer: boolean): void {
    const now = performance.now();
    troubledAt[asked] = now;
    if (asked !== current) return;
    const others = connections.map((_, at) => (asked + 1 + at) % connections.length).slice(0, -1);
    const next = others.find((at) => now - (troubledAt[at] ?? now) >= TROUBLE_MEMORY_MS);
    current = next ?? (canAnswer ? asked : (others[0] ?? asked));
    // What it came to before says nothing of now.
    if (current !== asked) connections[current]?.standing.clear();
  }

  /** Asks the agent that answered last; one that fails or knows no leader makes way for the next. @param question what it asks for, unique */
  async function ask<T>(question: string, query: ConsulQuery, schema: z.ZodType<T>, call: (library: Consul, options: LibraryOptions) => Promise<unknown>, extra: [string, string][] = []): Promise<ConsulAnswer<T>> {
    const asked = current;
    const connection = connections[asked];
    if (connection === undefined) throw consulFailure("MESH_REGISTRY_MISCONFIGURED", "no agent is configured");
    const context = new AnswerContext([...common, ...extra]);
    const cancel = (): unknown => context.emit("cancel");
    query.signal.throwIfAborted();
    query.signal.addEventListener("abort", cancel, { once: true });
    const { standing } = connection;
    standing.asked(question);
    try {
      const [response, body] = (await call(connection.library, optionsOf(query, context))) as [http.IncomingMessage, unknown];
      const answer = readAnswer(response, body, schema, query.wasFiltered === true ? 0n : query.index);
      standing.answered(question);
      if (!answer.isLeaderKnown) leave(asked, true);
      return answer;
    } catch (thrown) {
      const failure = failureOf(thrown);
      if (failure.code === "MESH_REGISTRY_THROTTLED") connection.throttled();
      if (!query.signal.aborted && MAY_BE_THE_AGENTS.has(failure.code)) {
        standing.failed(question);
        if (question === LIST || failure.code === "MESH_REGISTRY_THROTTLED" || isOfTheWay(failure) || standing.isBad) leave(asked, false);
      }
      throw failure;
    } finally {
      query.signal.removeEventListener("abort", cancel);
    }
  }

  return {
    async services(query) {
      const { body, ...told } = await ask(LIST, query, servicesAnswerSchema, (library, options) => library.catalog.service.list(options));
      if (body !== undefined) for (const { standing } of connections) standing.keep((question) => !question.startsWith(OF_SERVICE) || Object.hasOwn(body, question.slice(OF_SERVICE.length)));
      return { ...told, body: body === undefined ? undefined : Object.keys(body).sort() };
    },
    health: (service, query) => ask(OF_SERVICE + service, query, healthAnswerSchema, (library, options) => library.health.service({ service, ...options }), query.mode === "stale" ? cached : []),
    checks: (state, query) => ask(`checks ${state}`, query, stateAnswerSchema, (library, options) => library.health.state({ state, ...options })),
    nodes: (query) => ask("nodes", query, z.unknown(), (library, options) => library.catalog.node.list(options), [["filter", NO_NODE]]),
    agentSettings: (query) => ask("agent", query, agentSettingsSchema, (library, options) => getDirectly(library, { name: "agent.self", path: "/agent/self" }, options)),
    capacity: () => connections[current]?.capacity() ?? 1,
    close() {
      for (const connection of connections) connection.close();
    },
    async configEntries(kind, query) {
      try {
        return await ask(`config ${kind}`, query, configAnswerSchema, (library, options) => listConfigEntries(library, kind, options));
      } catch (failure) {
        if (failure instanceof CodedError && failure.message.includes(UNKNOWN_KIND)) return undefined;
        throw failure;
      }
    },
  };
}

/** The package's hook before a request is executed. */
interface ExtensibleLibrary {
  _ext(event: "onRequest", extension: (request: PreparedRequest, next: () => void) => void): void;
}

interface PreparedRequest {
  readonly ctx?: unknown;
  readonly req: { path: string };
}

/** Its options know neither `cached` nor `ns`. */
function addParameters(request: PreparedRequest, next: () => void): void {
  const { ctx, req } = request;
  if (ctx instanceof AnswerContext) {
    for (const [name, value] of ctx.parameters) req.path += `${req.path.includes("?") ? "&" : "?"}${name}=${encodeURIComponent(value)}`;
  }
  next();
}

function optionsOf({ datacenter, token, index, waitMs, mode }: ConsulQuery, ctx: AnswerContext): LibraryOptions {
  return {
    ctx,
    ...(datacenter === undefined ? {} : { dc: datacenter }),
    ...(token === undefined ? {} : { token: token.revealText() }),
    ...(index > 0n && waitMs > 0 ? { index: String(index), wait: `${waitMs}ms` } : {}),
    stale: mode === "stale",
    consistent: mode === "consistent",
    // Consul adds up to a sixteenth to the wait, so that watches do not wake in step.
    timeout: waitMs + Math.ceil(waitMs / 16) + ANSWER_MARGIN_MS,
  };
}

function readAnswer<T>(response: http.IncomingMessage, body: unknown, schema: z.ZodType<T>, known: bigint): ConsulAnswer<T> {
  const header = (name: string): string => String(response.headers[name] ?? "");
  const told = /^\d+$/.test(header("x-consul-index")) ? BigInt(header("x-consul-index")) : 0n;
  const answer = {
    // An index of 0 would make every query return at once.
    index: told < 1n ? 1n : told,
    // Answers out of the agent's own stream say "no leader" whatever is true.
    isLeaderKnown: header("x-consul-knownleader") !== "false" || header("x-consul-query-backend") === "streaming",
    isFiltered: header("x-consul-results-filtered-by-acls") === "true",
    defaultPolicy: header("x-consul-default-acl-policy"),
  };
  // The index tells of every change but of one: that of what the token may read.
  if (told > 0n && told === known && !answer.isFiltered) return { ...answer, body: undefined };
  const parsed = schema.safeParse(body);
  if (parsed.success) return { ...answer, body: parsed.data };
  const [issue] = parsed.error.issues;
  const where = issue === undefined ? "" : ` at ${issue.path.join(".")}: ${issue.message}`;
  throw consulFailure("MESH_REGISTRY_MALFORMED", `consul's answer is not understood${where}`);
}

/** What the library's rejection means. */
export function failureOf(thrown: unknown): CodedError {
  if (thrown instanceof CodedError) return thrown;
  const { response, isCodec } = thrown as { response?: { statusCode?: number; body?: unknown }; isCodec?: boolean };
  if (response?.statusCode === undefined || response.statusCode < 300) {
    return isCodec === true ? consulFailure("MESH_REGISTRY_MALFORMED", `consul's answer is not understood: ${messageOf(thrown)}`, thrown) : failureOfTransport(thrown);
  }
  const { statusCode, body } = response;
  return failureOfStatus(statusCode, typeof body === "string" || Buffer.isBuffer(body) ? body.toString() : "");
}
