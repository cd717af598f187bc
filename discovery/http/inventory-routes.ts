import type { FastifyInstance } from "fastify";
import { type ControlPlaneApi, RESOURCE_WORDS, type ResourceWord, type TokenRequest } from "./api.ts";

const hostParam = {
  type: "object",
  required: ["host"],
  properties: { host: { type: "string", minLength: 1, maxLength: 253, description: "Host id, or a name that one host alone has." } },
} as const;

/** How much of the journal is shown unless more is asked for. */
const JOURNAL_ENTRIES = 100;

function unknownService(service: string): { readonly code: string; readonly message: string; readonly hint: string } {
  return { code: "MESH_SERVICE_UNKNOWN", message: `no service ${service}`, hint: "`ironmesh get services` lists them" };
}

/** What the mesh knows: services, endpoints, hosts, registries, proxies; and the joining of hosts. */
export function registerInventoryRoutes(app: FastifyInstance, api: ControlPlaneApi): void {
  app.get("/api/v1/services", { schema: { summary: "The services of the merged catalog." } }, () => api.services());
  app.get<{ Querystring: { service?: string } }>(
    "/api/v1/endpoints",
    {
      schema: {
        summary: "Endpoints, of all services or of one (any name that it is reached by, or NAMESPACE/NAME).",
        querystring: {
          type: "object",
          additionalProperties: false,
          properties: { service: { type: "string", minLength: 1, maxLength: 253 } },
        },
      },
    },
    (request, reply) => {
      const { service } = request.query;
      return api.endpoints(service) ?? reply.code(404).send(unknownService(service ?? ""));
    },
  );
  app.get<{ Querystring: { service: string } }>(
    "/api/v1/describe/service",
    {
      schema: {
        summary: "Where a service comes from, and why each endpoint does or does not get traffic.",
        querystring: {
          type: "object",
          required: ["service"],
          additionalProperties: false,
          properties: { service: { type: "string", minLength: 1, maxLength: 253, description: "Any name that it is reached by, or NAMESPACE/NAME." } },
        },
      },
    },
    (request, reply) => {
      const { service } = request.query;
      const description = api.describeService(service);
      if (description !== undefined) return description;
      return reply.code(404).send(unknownService(service));
    },
  );
  app.get("/api/v1/hosts", { schema: { summary: "Enrolled hosts with their workloads and facts." } }, () => api.hosts());
  app.get("/api/v1/registries", { schema: { summary: "Registries with the age and state of their data." } }, () => api.registries());
  app.get<{ Querystring: { last: number } }>(
    "/api/v1/journal",
    {
      schema: {
        summary: "The last entries of the CA's journal, oldest first, and what is wrong with its chain.",
        querystring: {
          type: "object",
          additionalProperties: false,
          properties: { last: { type: "integer", minimum: 1, maximum: 100_000, default: JOURNAL_ENTRIES } },
        },
      },
    },
    (request) => api.journal(request.query.last),
  );
  app.get("/api/v1/proxies", { schema: { summary: "What every proxy was sent and took, per type." } }, () => api.proxies());
  app.get<{ Params: { host: string; word: ResourceWord } }>(
    "/api/v1/proxies/:host/:word",
    {
      schema: {
        summary: "The Envoy resources of one proxy, secrets redacted.",
        params: {
          type: "object",
          required: ["host", "word"],
          properties: { ...hostParam.properties, word: { type: "string", enum: RESOURCE_WORDS } },
        },
      },
    },
    async (request, reply) => {
      const { host, word } = request.params;
      const resources = await api.proxyResources(host, word);
      if (resources !== undefined) return resources;
      return reply.code(404).send({ code: "MESH_HOST_UNKNOWN", message: `no host ${host}`, hint: "`ironmesh get hosts` lists them" });
    },
  );
  app.post<{ Body: TokenRequest }>(
    "/api/v1/tokens",
    {
      schema: {
        summary: "Makes a one-use join token and the grant of what the host may be.",
        body: {
          type: "object",
          required: ["groups"],
          additionalProperties: false,
          properties: {
            groups: { type: "array", minItems: 1, items: { type: "string", pattern: "^[a-z0-9-]+/[a-z0-9.-]+$" } },
            ttlSeconds: { type: "integer", minimum: 1, maximum: 604_800 },
            addressRanges: { type: "array", items: { type: "string" } },
          },
        },
      },
    },
    (request) => api.createToken(request.body),
  );
  app.post<{ Params: { host: string } }>(
    "/api/v1/hosts/:host/revoke",
    { schema: { summary: "Refuses every further certificate to a host.", params: hostParam } },
    async (request, reply) => {
      const { host } = request.params;
      const revoked = await api.revokeHost(host);
      if (revoked !== undefined) return { revoked };
      return reply.code(404).send({ code: "MESH_HOST_UNKNOWN", message: `no host ${host}`, hint: "`ironmesh get hosts` lists them" });
    },
  );
}
