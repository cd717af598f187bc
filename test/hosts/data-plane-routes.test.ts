import assert from "node:assert/strict";
import { outboundClusterName } from "../../discovery/ir/names.ts";
import { NO_HEADER_OPERATIONS, type RouteIr } from "../../discovery/ir/route.ts";
import { callerOf } from "../support/mesh-callers.ts";
import { forwardTo, type HttpAnswer, hostnameOf, identityOf, type MeshScenario, startMeshScenario, UID, VIP } from "../support/mesh-scenario.ts";
import { waitUntil } from "../support/wait-until.ts";

const REVIEWS = outboundClusterName(8080, "", hostnameOf("reviews"));
const API = outboundClusterName(8090, "", hostnameOf("api"));
const NOT_THERE = outboundClusterName(8080, "", hostnameOf("absent"));

function at(path: string, changes: Partial<RouteIr>): RouteIr {
  const route = forwardTo(REVIEWS);
  return { ...route, ...changes, match: { ...route.match, path: { kind: "prefix", value: path } } };
}

const forward = forwardTo(REVIEWS).action as Extract<RouteIr["action"], { kind: "forward" }>;
const ROUTES: readonly RouteIr[] = [
  at("/slow", { fault: { delay: { fixedDelayMs: 3_000, percentage: 100 } }, action: { ...forward, timeoutMs: 500 } }),
  at("/aborted", { fault: { abort: { percentage: 100, httpStatus: 418 } } }),
  at("/split", {
    action: {
      ...forward,
      clusters: [
        { cluster: REVIEWS, weight: 50, headers: NO_HEADER_OPERATIONS },
        { cluster: API, weight: 50, headers: NO_HEADER_OPERATIONS },
      ],
    },
  }),
  at("/rewritten", { action: { ...forward, rewrite: { uri: "/", authority: "other.example" } } }),
  at("/mirrored", { action: { ...forward, mirrors: [{ cluster: API, percentage: 100 }] } }),
  at("/lost", { action: { ...forward, clusters: [{ cluster: NOT_THERE, weight: 1, headers: NO_HEADER_OPERATIONS }] } }),
  at("/moved", { action: { kind: "redirect", path: "/new", code: 308 } }),
  at("/said", { action: { kind: "direct-response", status: 200, body: "said" } }),
  at("/", { headers: { request: { set: { "x-set": "1" }, add: {}, remove: ["x-gone"] }, response: { set: { "x-seen": "100%" }, add: {}, remove: [] } } }),
];

describe("routes on real hosts", function () {
  this.timeout(180_000);
  let mesh: MeshScenario;

  before(async () => {
    mesh = await startMeshScenario({
      services: [{ name: "routed", port: 8080, protocol: "http1", vips: VIP.reviews, accounts: ["reviews"], endpoints: [], routes: ROUTES }],
    });
  });
  after(() => mesh.close());

  const get = async (path: string, changes: { requests?: number; headers?: Record<string, string> } = {}): Promise<HttpAnswer[]> =>
    mesh.http(mesh.hosts.a, { uid: UID.web, mode: "http1", host: VIP.reviews[0], port: 8080, authority: "routed", path, ...changes });

  it("changes headers", async () => {
    const [answer] = await get("/x", { headers: { "x-gone": "1" } });
    assert.equal(answer?.body?.headers?.["x-set"], "1");
    assert.equal(answer?.body?.headers?.["x-gone"], undefined);
    assert.equal(answer?.headers?.["x-seen"], "100%");
  });

  it("injects faults", async () => {
    assert.equal((await get("/aborted"))[0]?.status, 418);
  });

  it("splits by weight", async () => {
    const names = (await get("/split", { requests: 40 })).map(({ body }) => body?.name);
    assert.deepEqual(new Set(names), new Set(["api", "reviews"]));
  });

  it("rewrites path and authority", async () => {
    const [answer] = await get("/rewritten/x");
    assert.equal(answer?.body?.headers?.["host"], "other.example");
    assert.equal((answer?.body as { path?: string } | undefined)?.path, "/x");
  });

  it("redirects and answers by itself", async () => {
    const [moved] = await get("/moved/x");
    assert.deepEqual([moved?.status, moved?.headers?.["location"]], [308, "http://routed/new"]);
    assert.equal((await get("/said"))[0]?.body, "said");
  });

  it("answers 503 for a cluster that is not there", async () => {
    assert.equal((await get("/lost"))[0]?.status, 503);
  });

  // Envoy sends mirrored requests from a client of its own, which has no downstream connection to take an identity from.
  it("lends no identity to a mirrored request, and the request itself goes on", async () => {
    const [answer] = await get("/mirrored");
    assert.equal(answer?.status, 200);
    assert.equal(callerOf(answer ?? {}), identityOf("web"));
    const isRefused = async (): Promise<boolean> => /upstream_cx_connect_(fail|timeout): [1-9]/.test(await mesh.proxies.a.admin("/stats?filter=outbound.8090.*upstream_cx_connect"));
    await waitUntil(isRefused, { what: "the mirror's connection to fail" });
    const inbound = mesh.proxies.a.accessLog().filter(({ direction, path }) => direction === "inbound" && path === "/mirrored");
    assert.deepEqual(inbound, []);
  });
});
