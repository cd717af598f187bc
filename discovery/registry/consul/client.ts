import { EventEmitter } from "node:events";
import http from "node:http";
import https from "node:https";
import Consul from "consul";
import type { z } from "zod";
import { CodedError } from "../../../base/coded-error.ts";
import type { SecretBytes } from "../../../base/secret-bytes.ts";
import { type ConsulEntry, configAnswerSchema, healthAnswerSchema, servicesAnswerSchema } from "./entry.ts";
import { consulFailure, failureOfStatus, failureOfTransport } from "./failure.ts";

/** How to reach a Consul agent. Roots, certificate and key are PEM. */
export interface ConsulEndpoint {
  /** `http://HOST:PORT`, `https://HOST:PORT` or `unix:///PATH`. */
  readonly address: string;
  readonly ca?: string;
  readonly certificate?: string;
  readonly key?: SecretBytes;
  /** Name in the agent's certificate, where it is not that of the address. */
  readonly serverName?: string;
  /** Sockets at a time; the rest waits. */
  readonly maxConnections: number;
}

export interface ConsulQuery {
  readonly datacenter?: string | undefined;
  readonly token?: SecretBytes | undefined;
  /** Answer only when there is something newer, or after `waitMs`; 0: at once. */
  readonly index: bigint;
  readonly waitMs: number;
  /** `stale`: any server may answer; `consistent`: the leader, after it has asked its followers. */
  readonly mode: "stale" | "consistent";
  readonly signal: AbortSignal;
}

/** An answer with what Consul says about it in headers. */
export interface ConsulAnswer<T> {
  readonly body: T;
  /** At least 1. */
  readonly index: bigint;
  readonly isLeaderKnown: boolean;
  /** Something was left out, because the token may not read it. */
  readonly isFiltered: boolean;
  /** What Consul does about rights that nobody gave: `allow`, `deny`, or empty without ACLs. */
  readonly defaultPolicy: string;
}

/** The two questions that the registry asks, and the import's. Rejects with a CodedError `MESH_REGISTRY_…`. */
export interface ConsulClient {
  services(query: ConsulQuery): Promise<ConsulAnswer<readonly string[]>>;
  health(service: string, query: ConsulQuery): Promise<ConsulAnswer<readonly ConsulEntry[]>>;
  /** All config entries of a kind, as they are; undefined where Consul does not know the kind. */
  configEntries(kind: string, query: ConsulQuery): Promise<ConsulAnswer<readonly unknown[]> | undefined>;
  close(): void;
}

/** What the library takes and hands on beyond what its types tell. */
interface LibraryOptions {
  readonly ctx: AnswerContext;
  readonly dc?: string;
  readonly token?: string;
  readonly index: string;
  readonly wait: string;
  readonly stale: boolean;
  readonly consistent: boolean;
  readonly timeout: number;
}

/** Tells the library to give headers as well, and to abort on `cancel`. */
export class AnswerContext extends EventEmitter {
  readonly includeResponse = true;
}

/** What Consul answers, with status 500, about a kind that it does not know. */
const UNKNOWN_KIND = "invalid config entry kind";

/** What the library hands to a middleware once it has an answer, or has none. */
interface LibraryExchange {
  readonly err?: Error & { response?: unknown };
  readonly res: http.IncomingMessage & { readonly body: unknown };
}

/** The library has no call for config entries: its own one below all calls. */
interface LibraryRequests {
  _get(request: Readonly<Record<string, unknown>>, finish: (exchange: LibraryExchange, next: (again: boolean, failure?: Error, result?: unknown) => void) => void): Promise<unknown>;
}

function listConfigEntries(consul: Consul, kind: string, { ctx, dc, token, consistent, timeout }: LibraryOptions): Promise<unknown> {
  const request = {
    name: "config.list",
    path: "/config/{kind}",
    params: { kind },
    query: { ...(dc === undefined ? {} : { dc }), ...(consistent ? { consistent: "1" } : { stale: "1" }) },
    headers: token === undefined ? {} : { "x-consul-token": token },
    ctx,
    timeout,
  };
  return (consul as unknown as LibraryRequests)._get(request, ({ err, res }, next) => {
    if (err === undefined) return next(false, undefined, [res, res.body]);
    err.response = res;
    next(false, err);
  });
}

/** Time for an answer that Consul has: connecting, a busy server, a slow line. */
export const ANSWER_MARGIN_MS = 15_000;

/** The library over sockets of its own, which whoever opened it destroys. */
export function openLibrary(endpoint: ConsulEndpoint): { readonly consul: Consul; readonly sockets: http.Agent } {
  const unixPath = endpoint.address.startsWith("unix://") ? endpoint.address.slice("unix://".length) : undefined;
  const baseUrl = new URL("/v1", unixPath === undefined ? endpoint.address : "http://localhost");
  const limits = { keepAlive: true, maxSockets: endpoint.maxConnections, scheduling: "lifo" } as const;
  const sockets = baseUrl.protocol === "https:" ? new https.Agent(limits) : new http.Agent(limits);
  const options = {
    baseUrl,
    agent: sockets,
    ...(unixPath === undefined ? {} : { socketPath: unixPath }),
    ...(endpoint.ca === undefined ? {} : { ca: endpoint.ca }),
    ...(endpoint.certificate === undefined ? {} : { cert: endpoint.certificate }),
    ...(endpoint.key === undefined ? {} : { key: endpoint.key.revealText() }),
    ...(endpoint.serverName === undefined ? {} : { servername: endpoint.serverName }),
  };
  return { consul: new Consul(options), sockets };
}

/** A client over the `consul` package, whose own watch knows neither jitter nor a reset after errors. */
export function createConsulClient(endpoint: ConsulEndpoint): ConsulClient {
  const { consul, sockets } = openLibrary(endpoint);

  return {
    async services(query) {
      const answer = await ask(query, servicesAnswerSchema, (options) => consul.catalog.service.list(options));
      return { ...answer, body: Object.keys(answer.body).sort() };
    },
    health: (service, query) => ask(query, healthAnswerSchema, (options) => consul.health.service({ service, ...options })),
    async configEntries(kind, query) {
      try {
        return await ask(query, configAnswerSchema, (options) => listConfigEntries(consul, kind, options));
      } catch (failure) {
        if (failure instanceof CodedError && failure.message.includes(UNKNOWN_KIND)) return undefined;
        throw failure;
      }
    },
    close: () => sockets.destroy(),
  };
}

async function ask<T>(
  query: ConsulQuery,
  schema: z.ZodType<T>,
  call: (options: LibraryOptions) => Promise<unknown>,
): Promise<ConsulAnswer<T>> {
  const context = new AnswerContext();
  const cancel = (): unknown => context.emit("cancel");
  query.signal.throwIfAborted();
  query.signal.addEventListener("abort", cancel, { once: true });
  try {
    const [response, body] = (await call(optionsOf(query, context))) as [http.IncomingMessage, unknown];
    return readAnswer(response, body, schema);
  } catch (thrown) {
    throw failureOf(thrown);
  } finally {
    query.signal.removeEventListener("abort", cancel);
  }
}

function optionsOf({ datacenter, token, index, waitMs, mode }: ConsulQuery, ctx: AnswerContext): LibraryOptions {
  return {
    ctx,
    ...(datacenter === undefined ? {} : { dc: datacenter }),
    ...(token === undefined ? {} : { token: token.revealText() }),
    index: String(index),
    wait: `${waitMs}ms`,
    stale: mode === "stale",
    consistent: mode === "consistent",
    // Consul adds up to a sixteenth to the wait, so that watches do not wake in step.
    timeout: waitMs + Math.ceil(waitMs / 16) + ANSWER_MARGIN_MS,
  };
}

function readAnswer<T>(response: http.IncomingMessage, body: unknown, schema: z.ZodType<T>): ConsulAnswer<T> {
  const header = (name: string): string => String(response.headers[name] ?? "");
  const parsed = schema.safeParse(body);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const where = issue === undefined ? "" : ` at ${issue.path.join(".")}: ${issue.message}`;
    throw consulFailure("MESH_REGISTRY_MALFORMED", `consul's answer is not understood${where}`);
  }
  const index = /^\d+$/.test(header("x-consul-index")) ? BigInt(header("x-consul-index")) : 0n;
  return {
    body: parsed.data,
    // An index of 0 would make every query return at once.
    index: index < 1n ? 1n : index,
    // Answers out of the agent's own stream say "no leader" whatever is true.
    isLeaderKnown: header("x-consul-knownleader") !== "false" || header("x-consul-query-backend") === "streaming",
    isFiltered: header("x-consul-results-filtered-by-acls") === "true",
    defaultPolicy: header("x-consul-default-acl-policy"),
  };
}

/** What the library's rejection means. */
export function failureOf(thrown: unknown): CodedError {
  if (thrown instanceof CodedError) return thrown;
  const { response } = thrown as { response?: { statusCode?: number; body?: unknown } };
  if (response?.statusCode === undefined || response.statusCode < 300) return failureOfTransport(thrown);
  const { statusCode, body } = response;
  return failureOfStatus(statusCode, typeof body === "string" || Buffer.isBuffer(body) ? body.toString() : "");
}
