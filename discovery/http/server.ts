import { chmod, mkdir, rm } from "node:fs/promises";
import { dirname } from "node:path";
import swagger from "@fastify/swagger";
import fastify, { type FastifyInstance, type FastifyError } from "fastify";
import type { Registry } from "prom-client";
import { CodedError } from "../../base/coded-error.ts";
import type { Logger } from "../../base/logger.ts";
import type { ControlPlaneApi } from "./api.ts";
import { registerConfigRoutes } from "./config-routes.ts";
import { registerInventoryRoutes } from "./inventory-routes.ts";

/** The largest YAML that `apply` takes in one request. */
const BODY_LIMIT_BYTES = 4 * 1024 * 1024;

export interface HttpOptions {
  readonly api: ControlPlaneApi;
  readonly metrics: Registry;
  readonly logger: Logger;
  /** The API's unix socket: 0600, the permission is the authorization. */
  readonly apiSocket: string;
  /** Where `/metrics`, `/healthz` and `/readyz` are served besides. */
  readonly metricsAddress: { readonly host: string; readonly port: number };
}

export interface HttpServer {
  /** The metrics port in use. */
  readonly metricsPort: number;
  close(): Promise<void>;
}

/** Serves the API on its socket and health and metrics on a port. */
export async function serveHttp(options: HttpOptions): Promise<HttpServer> {
  const { api, metrics, logger, apiSocket, metricsAddress } = options;
  const administration = buildApi(api, metrics, logger);
  const observation = fastify({ logger: false });
  registerHealth(observation, api, metrics);
  await mkdir(dirname(apiSocket), { recursive: true });
  await rm(apiSocket, { force: true });
  const mask = process.umask(0o177);
  try {
    await administration.listen({ path: apiSocket });
  } finally {
    process.umask(mask);
  }
  await chmod(apiSocket, 0o600);
  await observation.listen(metricsAddress);
  const address = observation.server.address();
  return {
    metricsPort: typeof address === "object" && address !== null ? address.port : metricsAddress.port,
    async close() {
      await Promise.all([administration.close(), observation.close()]);
    },
  };
}

/** The API without a socket, so that tests can inject requests. */
export function buildApi(api: ControlPlaneApi, metrics: Registry, logger: Logger): FastifyInstance {
  // Fastify would drop what a schema does not know; a misspelt field is an error here as everywhere.
  const app = fastify({ logger: false, bodyLimit: BODY_LIMIT_BYTES, ajv: { customOptions: { removeAdditional: false } } });
  app.addContentTypeParser(["application/yaml", "text/yaml", "text/plain"], { parseAs: "string" }, (_request, body, done) =>
    done(null, body),
  );
  app.setErrorHandler((error: FastifyError | CodedError, request, reply) => {
    const status = "statusCode" in error ? (error.statusCode ?? 500) : error instanceof CodedError ? 422 : 500;
    if (status >= 500) logger.error({ err: error, url: request.url }, "request failed");
    const hint = error instanceof CodedError ? error.hint : undefined;
    return reply.code(status).send({
      code: error.code ?? "MESH_INTERNAL",
      message: status >= 500 ? "internal error; the control plane's log says more" : error.message,
      ...(hint === undefined ? {} : { hint }),
    });
  });
  void app.register(swagger, {
    openapi: { info: { title: "Ironmesh control plane", version: "v1", description: "What the mesh knows, and what it was told." } },
  });
  void app.register(async (scope) => {
    registerHealth(scope, api, metrics);
    registerInventoryRoutes(scope, api);
    registerConfigRoutes(scope, api);
    scope.get("/api/v1/openapi.json", { schema: { hide: true } }, () => app.swagger());
  });
  return app;
}

function registerHealth(app: FastifyInstance, api: ControlPlaneApi, metrics: Registry): void {
  app.get("/healthz", { schema: { summary: "Alive." } }, () => ({ status: "ok" }));
  app.get("/readyz", { schema: { summary: "Ready: every registry has synced or loaded its last good state, and all of that is in the catalog." } }, (_request, reply) => {
    const openTasks = api.openTasks();
    return reply.code(openTasks.length === 0 ? 200 : 503).send({ status: openTasks.length === 0 ? "ready" : "starting", openTasks });
  });
  app.get("/metrics", { schema: { summary: "Prometheus metrics." } }, async (_request, reply) => {
    return reply.type(metrics.contentType).send(await metrics.metrics());
  });
}
