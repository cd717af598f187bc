import type { FastifyInstance } from "fastify";
import type { ControlPlaneApi } from "./api.ts";

interface ConfigParams {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
}

const configParams = {
  type: "object",
  required: ["kind", "namespace", "name"],
  properties: {
    kind: { type: "string", minLength: 1, maxLength: 63 },
    namespace: { type: "string", minLength: 1, maxLength: 63 },
    name: { type: "string", minLength: 1, maxLength: 253 },
  },
} as const;

/** What people told the mesh: list, show, apply, delete. */
export function registerConfigRoutes(app: FastifyInstance, api: ControlPlaneApi): void {
  app.get("/api/v1/config", { schema: { summary: "Every resource with its state and issues." } }, () => api.config());
  app.get<{ Params: ConfigParams }>(
    "/api/v1/config/:kind/:namespace/:name",
    { schema: { summary: "One resource as YAML.", params: configParams } },
    (request, reply) => {
      const { kind, namespace, name } = request.params;
      const yaml = api.configYaml(kind, namespace, name);
      if (yaml === undefined) return reply.code(404).send(unknownResource(request.params));
      return reply.type("application/yaml").send(yaml);
    },
  );
  app.put<{ Body: string; Querystring: { file?: string } }>(
    "/api/v1/config",
    {
      schema: {
        summary: "Applies YAML documents: all of them, or none where one is not acceptable.",
        consumes: ["application/yaml"],
        querystring: {
          type: "object",
          additionalProperties: false,
          properties: { file: { type: "string", maxLength: 1_024, description: "The name to show in issues." } },
        },
      },
    },
    async (request, reply) => {
      if (typeof request.body !== "string") {
        return reply.code(415).send({ code: "MESH_BODY_NOT_YAML", message: "the body is not application/yaml" });
      }
      const outcome = await api.apply(request.body, request.query.file ?? "(request)");
      return reply.code(outcome.stored ? 200 : 422).send(outcome);
    },
  );
  app.delete<{ Params: ConfigParams }>(
    "/api/v1/config/:kind/:namespace/:name",
    { schema: { summary: "Deletes an applied resource; one from a file stays.", params: configParams } },
    async (request, reply) => {
      const { kind, namespace, name } = request.params;
      if (await api.remove(kind, namespace, name)) return { deleted: `${kind}/${namespace}/${name}` };
      return reply.code(404).send(unknownResource(request.params));
    },
  );
}

function unknownResource({ kind, namespace, name }: ConfigParams): Record<string, string> {
  return {
    code: "MESH_CONFIG_UNKNOWN",
    message: `no applied resource ${kind}/${namespace}/${name}`,
    hint: "`ironmesh get config` lists them; one that a file holds is deleted by deleting it there",
  };
}
