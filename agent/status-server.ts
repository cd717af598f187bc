import { once } from "node:events";
import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

import { CodedError, messageOf } from "../base/coded-error.ts";
import type { Closable } from "../base/task-group.ts";

export interface StatusServerOptions {
  /** Listens on 127.0.0.1 only. */
  readonly statusPort: number;
  /** Listens on every address: load balancers and people look at it. It says nothing but what keeps the host from being ready. */
  readonly readinessPort: number;
  /** Names of what is not done yet; empty when ready. */
  readonly openTasks: () => readonly string[];
  /** Plain data, without secrets. */
  readonly status: () => unknown;
  /** Prometheus text of Envoy and the agent. */
  readonly metrics: () => Promise<string>;
}

export interface StatusServer extends Closable {
  readonly statusPort: number;
  readonly readinessPort: number;
  close(): Promise<void>;
}

/** @throws CodedError MESH_LISTEN_FAILED */
export async function startStatusServer(options: StatusServerOptions): Promise<StatusServer> {
  const ready = (_request: IncomingMessage, response: ServerResponse): void => {
    const open = options.openTasks();
    send(response, open.length === 0 ? 200 : 503, "text/plain", open.length === 0 ? "ready\n" : `not ready: ${open.join(", ")}\n`);
  };
  const readiness = await listen(options.readinessPort, undefined, { "/healthz/ready": ready });
  try {
    const status = await listen(options.statusPort, "127.0.0.1", {
      "/healthz/ready": ready,
      "/status": (_request, response) => send(response, 200, "application/json", `${JSON.stringify(options.status(), null, 2)}\n`),
      "/stats/prometheus": (_request, response) => {
        options.metrics().then(
          (text) => send(response, 200, "text/plain; version=0.0.4; charset=utf-8", text),
          (failure: unknown) => send(response, 503, "text/plain", `${messageOf(failure)}\n`),
        );
      },
    });
    return {
      statusPort: portOf(status),
      readinessPort: portOf(readiness),
      async close() {
        await closeServer(status);
        await closeServer(readiness);
      },
    };
  } catch (failure) {
    await closeServer(readiness);
    throw failure;
  }
}

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

async function listen(port: number, host: string | undefined, routes: Readonly<Record<string, Handler>>): Promise<Server> {
  const server = createServer({ requestTimeout: 5_000, headersTimeout: 5_000, maxHeaderSize: 8_192 }, (request, response) => {
    const handler = Object.hasOwn(routes, pathOf(request)) ? routes[pathOf(request)] : undefined;
    if (handler === undefined) send(response, 404, "text/plain", `there is ${Object.keys(routes).join(", ")}\n`);
    else if (request.method !== "GET" && request.method !== "HEAD") send(response, 405, "text/plain", "read only\n");
    else handler(request, response);
  });
  server.maxConnections = 100;
  try {
    server.listen({ port, ...(host === undefined ? {} : { host }) });
    await once(server, "listening");
  } catch (cause) {
    throw new CodedError("MESH_LISTEN_FAILED", `cannot listen on port ${port}: ${messageOf(cause)}`, { cause, facts: { port }, hint: "another agent, or another program, may use it" });
  }
  return server;
}

function pathOf(request: IncomingMessage): string {
  return (request.url ?? "/").split("?")[0] ?? "/";
}

function send(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, { "content-type": type, "content-length": Buffer.byteLength(body), "cache-control": "no-store" });
  response.end(response.req.method === "HEAD" ? undefined : body);
}

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}

async function closeServer(server: Server): Promise<void> {
  server.closeAllConnections();
  await new Promise<void>((resolve) => server.close(() => resolve()));
}
