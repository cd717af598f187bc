import assert from "node:assert/strict";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { FastifyInstance } from "fastify";
import { Registry } from "prom-client";
import { CodedError } from "../../../../base/coded-error.ts";
import { silentLogger } from "../../../../base/logger.ts";
import type { ApplyOutcome, ControlPlaneApi, ServiceDescriptionView } from "../../../../discovery/http/api.ts";
import { buildApi, serveHttp } from "../../../../discovery/http/server.ts";

const description: ServiceDescriptionView = {
  key: "default/web",
  hostname: "web.default.svc.mesh.internal",
  isInForce: true,
  resolution: "static",
  vips: [],
  names: [],
  lostNames: [],
  members: [],
  pending: [],
  namesakes: [],
  ports: [],
  endpoints: [],
  notes: [],
  registries: [],
  configuration: [],
};
const YAML = { "content-type": "application/yaml" };

describe("HTTP API", () => {
  let app: FastifyInstance;
  let asked: unknown[];
  let openTasks: string[];
  let outcome: ApplyOutcome;

  beforeEach(() => {
    asked = [];
    openTasks = [];
    outcome = { stored: true, resources: [{ kind: "Service", namespace: "default", name: "web" }], issues: [] };
    app = buildApi(fakeApi(), new Registry(), silentLogger);
  });

  afterEach(() => app.close());

  function fakeApi(): ControlPlaneApi {
    const asking = (...call: unknown[]): [] => {
      asked.push(call);
      return [];
    };
    return {
      services: () => asking("services"),
      endpoints: (service) => (service === "nobody" ? undefined : asking("endpoints", service)),
      describeService(service) {
        if (service === "web") throw new CodedError("MESH_SERVICE_AMBIGUOUS", "several services are called web", { hint: "say which: a/web, b/web" });
        return service === "default/web" ? { ...description } : undefined;
      },
      hosts: () => asking("hosts"),
      config: () => asking("config"),
      configYaml: (...name) => (name.join("/") === "Service/default/web" ? "kind: Service\n" : undefined),
      registries: () => asking("registries"),
      proxies: () => asking("proxies"),
      proxyResources: async (host, word) => (host === "h1" ? [{ word }] : undefined),
      async apply(yaml, file) {
        asked.push(["apply", yaml, file]);
        if (yaml === "store down") throw new Error("the disk is full of secrets");
        if (yaml === "refused") throw new CodedError("MESH_STORE_BUSY", "the store is busy", { hint: "try again" });
        return outcome;
      },
      remove: async (...name) => name.join("/") === "Service/default/web",
      async createToken(wanted) {
        asked.push(["token", wanted]);
        return { token: "im1.x", expiresAt: "2026-01-01T00:00:00Z" };
      },
      revokeHost: async (host) => (host === "vm1" ? "h1" : undefined),
      async journal(last) {
        asked.push(["journal", last]);
        return { entries: [], problems: [] };
      },
      openTasks: () => openTasks,
    };
  }

  const get = async (url: string): Promise<{ status: number; body: unknown }> => {
    const response = await app.inject({ method: "GET", url });
    return { status: response.statusCode, body: response.json() };
  };

  for (const list of ["services", "endpoints", "hosts", "registries", "proxies", "config"]) {
    it(`lists ${list}`, async () => {
      assert.deepEqual(await get(`/api/v1/${list}`), { status: 200, body: [] });
      assert.equal((asked[0] as unknown[])[0], list);
    });
  }

  it("describes a service, and says which one is not known or not meant alone", async () => {
    assert.deepEqual(await get("/api/v1/describe/service?service=default%2Fweb"), { status: 200, body: description });
    const unknown = await get("/api/v1/describe/service?service=nobody");
    assert.deepEqual([unknown.status, (unknown.body as { code: string }).code], [404, "MESH_SERVICE_UNKNOWN"]);
    const ambiguous = await get("/api/v1/describe/service?service=web");
    assert.deepEqual([ambiguous.status, (ambiguous.body as { hint: string }).hint], [422, "say which: a/web, b/web"]);
    for (const url of ["/api/v1/describe/service", "/api/v1/describe/service?service=", "/api/v1/describe/service?name=web", `/api/v1/describe/service?service=${"x".repeat(300)}`]) {
      assert.equal((await get(url)).status, 400, url);
    }
  });

  it("shows the end of the journal, and how much of it was asked for", async () => {
    assert.deepEqual(await get("/api/v1/journal"), { status: 200, body: { entries: [], problems: [] } });
    await get("/api/v1/journal?last=3");
    assert.deepEqual(asked, [["journal", 100], ["journal", 3]]);
    assert.equal((await get("/api/v1/journal?last=0")).status, 400);
  });

  it("lists the endpoints of one service", async () => {
    await get("/api/v1/endpoints?service=default/web");
    assert.deepEqual(asked, [["endpoints", "default/web"]]);
    assert.equal((await get("/api/v1/endpoints?servce=x")).status, 400);
    // No endpoints would be a lie about a name that was not understood.
    const unknown = await get("/api/v1/endpoints?service=nobody");
    assert.deepEqual([unknown.status, (unknown.body as { code: string }).code], [404, "MESH_SERVICE_UNKNOWN"]);
  });

  it("shows the resources of a proxy under their words", async () => {
    assert.deepEqual(await get("/api/v1/proxies/h1/clusters"), { status: 200, body: [{ word: "clusters" }] });
    const unknown = await get("/api/v1/proxies/h9/clusters");
    assert.deepEqual([unknown.status, (unknown.body as { code: string }).code], [404, "MESH_HOST_UNKNOWN"]);
    assert.equal((await get("/api/v1/proxies/h1/bootstrap")).status, 400);
  });

  it("shows a resource as YAML, and says where there is none", async () => {
    const response = await app.inject({ method: "GET", url: "/api/v1/config/Service/default/web" });
    assert.deepEqual([response.statusCode, response.body], [200, "kind: Service\n"]);
    assert.match(String(response.headers["content-type"]), /^application\/yaml/);
    const unknown = await get("/api/v1/config/Service/default/other");
    assert.deepEqual([unknown.status, (unknown.body as { code: string }).code], [404, "MESH_CONFIG_UNKNOWN"]);
  });

  it("applies YAML, and answers 422 with the issues where nothing was stored", async () => {
    const put = async (payload: string) => app.inject({ method: "PUT", url: "/api/v1/config?file=web.yaml", headers: YAML, payload });
    const taken = await put("kind: Service");
    assert.deepEqual([taken.statusCode, taken.json()], [200, outcome]);
    assert.deepEqual(asked, [["apply", "kind: Service", "web.yaml"]]);
    outcome = { ...outcome, stored: false };
    assert.equal((await put("kind: Servce")).statusCode, 422);
  });

  it("refuses a body that is not YAML, and one over the limit", async () => {
    const put = async (type: string, payload: string) => app.inject({ method: "PUT", url: "/api/v1/config", headers: { "content-type": type }, payload });
    assert.equal((await put("application/json", "{}")).statusCode, 415);
    assert.equal((await put("application/octet-stream", "x")).statusCode, 415);
    assert.equal((await put("application/yaml", "#".repeat(4 * 1_024 * 1_024 + 1))).statusCode, 413);
    assert.deepEqual(asked, []);
  });

  it("tells an expected failure with its hint, and nothing of an unexpected one", async () => {
    const put = async (payload: string) => app.inject({ method: "PUT", url: "/api/v1/config", headers: YAML, payload });
    const expected = await put("refused");
    assert.deepEqual([expected.statusCode, expected.json()], [422, { code: "MESH_STORE_BUSY", message: "the store is busy", hint: "try again" }]);
    const unexpected = await put("store down");
    assert.equal(unexpected.statusCode, 500);
    assert.doesNotMatch(unexpected.body, /secrets/);
  });

  it("deletes an applied resource", async () => {
    const remove = async (name: string) => app.inject({ method: "DELETE", url: `/api/v1/config/Service/default/${name}` });
    assert.deepEqual((await remove("web")).json(), { deleted: "Service/default/web" });
    assert.equal((await remove("other")).statusCode, 404);
  });

  it("makes a token for groups only", async () => {
    const post = async (payload: object) => app.inject({ method: "POST", url: "/api/v1/tokens", payload });
    assert.equal((await post({ groups: ["default/web"], ttlSeconds: 60 })).statusCode, 200);
    assert.deepEqual(asked, [["token", { groups: ["default/web"], ttlSeconds: 60 }]]);
    for (const wrong of [{}, { groups: [] }, { groups: ["web"] }, { groups: ["default/web"], ttlSeconds: 0 }, { groups: ["default/web"], ttlSecond: 60 }]) {
      assert.equal((await post(wrong)).statusCode, 400, JSON.stringify(wrong));
    }
  });

  it("revokes a host", async () => {
    const revoke = async (host: string) => app.inject({ method: "POST", url: `/api/v1/hosts/${host}/revoke` });
    assert.deepEqual((await revoke("vm1")).json(), { revoked: "h1" });
    assert.equal((await revoke("h9")).statusCode, 404);
  });

  it("is ready when nothing is open", async () => {
    assert.equal((await get("/healthz")).status, 200);
    assert.deepEqual(await get("/readyz"), { status: 200, body: { status: "ready", openTasks: [] } });
    openTasks = ["registry consul"];
    assert.deepEqual(await get("/readyz"), { status: 503, body: { status: "starting", openTasks } });
    assert.equal((await app.inject({ method: "GET", url: "/metrics" })).statusCode, 200);
  });

  it("describes every route in its OpenAPI document", async () => {
    const { body } = await get("/api/v1/openapi.json");
    const { paths } = body as { paths: Record<string, Record<string, { summary?: string }>> };
    const described = Object.entries(paths).flatMap(([path, methods]) => Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`));
    assert.deepEqual(described.filter((route) => !route.startsWith("HEAD ")).sort(), [
      "DELETE /api/v1/config/{kind}/{namespace}/{name}",
      "GET /api/v1/config",
      "GET /api/v1/config/{kind}/{namespace}/{name}",
      "GET /api/v1/describe/service",
      "GET /api/v1/endpoints",
      "GET /api/v1/hosts",
      "GET /api/v1/journal",
      "GET /api/v1/proxies",
      "GET /api/v1/proxies/{host}/{word}",
      "GET /api/v1/registries",
      "GET /api/v1/services",
      "GET /healthz",
      "GET /metrics",
      "GET /readyz",
      "POST /api/v1/hosts/{host}/revoke",
      "POST /api/v1/tokens",
      "PUT /api/v1/config",
    ]);
    assert.ok(Object.values(paths).every((methods) => Object.values(methods).every(({ summary }) => summary !== undefined)));
  });

  it("serves the API on a socket for its owner alone, and health without the API on a port", async () => {
    const folder = await mkdtemp(join(tmpdir(), "ironmesh-http-"));
    const apiSocket = join(folder, "run", "api.sock");
    const server = await serveHttp({ api: fakeApi(), metrics: new Registry(), logger: silentLogger, apiSocket, metricsAddress: { host: "127.0.0.1", port: 0 } });
    try {
      assert.equal((await stat(apiSocket)).mode & 0o777, 0o600);
      assert.equal(await statusOf({ socketPath: apiSocket, path: "/api/v1/services" }), 200);
      assert.equal(await statusOf({ port: server.metricsPort, path: "/healthz" }), 200);
      assert.equal(await statusOf({ port: server.metricsPort, path: "/api/v1/services" }), 404);
    } finally {
      await server.close();
      await rm(folder, { recursive: true });
    }
  });
});

function statusOf(where: { readonly socketPath?: string; readonly port?: number; readonly path: string }): Promise<number> {
  return new Promise((resolve, reject) => {
    request({ host: "127.0.0.1", agent: false, ...where }, (response) => {
      response.resume();
      response.once("end", () => resolve(response.statusCode ?? 0));
    })
      .once("error", reject)
      .end();
  });
}
