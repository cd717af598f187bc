import assert from "node:assert/strict";
import { parseDocumentValue } from "../../api/document.ts";
import { buildRoutes } from "../../discovery/ir/build-route.ts";
import type { MeshView } from "../../discovery/ir/mesh-view.ts";
import type { RouteIr } from "../../discovery/ir/route.ts";
import type { Service } from "../../model/service.ts";
import { importEntries } from "../support/consul-import.ts";
import { type HttpAnswer, hostnameOf, type MeshScenario, startMeshScenario, UID, VIP } from "../support/mesh-scenario.ts";

/** As Consul's documentation describes it: the router's routes in their order, then the splitter. */
const ENTRIES = [
  { Kind: "proxy-defaults", Name: "global", Config: { protocol: "http" } },
  {
    Kind: "service-router", Name: "routed", Routes: [
      { Match: { HTTP: { PathPrefix: "/api/", Methods: ["GET", "PUT"], QueryParam: [{ Name: "q", Present: true }] } }, Destination: { Service: "api", PrefixRewrite: "/v1/", RequestHeaders: { Set: { "x-routed": "api" } } } },
      { Match: { HTTP: { Header: [{ Name: "x-team", Exact: "a", Invert: true }] } }, Destination: { Service: "reviews", ResponseHeaders: { Set: { "x-routed": "inverted" } } } },
      { Match: { HTTP: { Header: [{ Name: "x-mail", Suffix: "@example.com" }] } }, Destination: { Service: "elsewhere" } },
    ],
  },
  { Kind: "service-splitter", Name: "routed", Splits: [{ Weight: 50, Service: "reviews" }, { Weight: 50, Service: "api" }] },
  { Kind: "service-resolver", Name: "elsewhere", Redirect: { Service: "api" } },
];

const PORTS: Readonly<Record<string, number>> = { [hostnameOf("reviews")]: 8080, [hostnameOf("api")]: 8090 };

/** The view of a mesh that has the scenario's services. */
const VIEW = {
  meshDomain: "mesh.internal",
  service: (hostname: string) => (PORTS[hostname] === undefined ? undefined : ({ hostname, ports: [{ name: "http", number: PORTS[hostname], protocol: "HTTP" }] } as unknown as Service)),
} as unknown as MeshView;

function importedRoutes(): readonly RouteIr[] {
  const { resources } = importEntries(ENTRIES, { namespace: "default" });
  const found = resources.find(({ resource: { kind, metadata } }) => kind === "VirtualService" && metadata.name === "routed");
  const { resource } = parseDocumentValue(found?.resource, { file: "imported", line: 1, column: 1 }, "files");
  if (resource?.kind !== "VirtualService") return assert.fail("nothing was imported");
  return buildRoutes(resource, 8080, VIEW);
}

describe("routes imported from Consul on real hosts", function () {
  this.timeout(180_000);
  let mesh: MeshScenario;

  before(async () => {
    mesh = await startMeshScenario({
      services: [{ name: "routed", port: 8080, protocol: "http1", vips: VIP.reviews, accounts: ["reviews"], endpoints: [], routes: importedRoutes() }],
    });
  });
  after(() => mesh.close());

  const get = async (path: string, headers: Record<string, string> = {}, requests = 1): Promise<HttpAnswer[]> =>
    mesh.http(mesh.hosts.a, { uid: UID.web, mode: "http1", host: VIP.reviews[0], port: 8080, authority: "routed", path, headers, requests });
  const names = async (path: string, headers: Record<string, string> = {}, requests = 1): Promise<string[]> =>
    [...new Set((await get(path, headers, requests)).map(({ body }) => String(body?.name)))].sort();

  it("takes the first route that matches, with its rewrite and headers", async () => {
    const [answer] = await get("/api/x?q=1", { "x-team": "b" });
    assert.equal(answer?.body?.name, "api");
    assert.equal((answer?.body as { path?: string } | undefined)?.path, "/v1/x?q=1");
    assert.equal(answer?.body?.headers?.["x-routed"], "api");
    assert.deepEqual(await names("/api/x", { "x-team": "b" }), ["reviews"], "without the query parameter it is the next route's");
  });

  it("inverts a header's value only where the header is there", async () => {
    const [answer] = await get("/x", { "x-team": "b" });
    assert.equal(answer?.headers?.["x-routed"], "inverted");
    for (const headers of [{}, { "x-team": "a" }] as Record<string, string>[]) {
      const answers = await get("/x", headers);
      assert.deepEqual(answers.map((one) => [one.status, one.headers?.["x-routed"]]), [[200, undefined]]);
    }
  });

  it("matches a suffix, and follows a redirect", async () => {
    assert.deepEqual(await names("/x", { "x-mail": "a@example.com" }, 10), ["api"]);
  });

  it("splits what no route takes", async () => {
    assert.deepEqual(await names("/x", {}, 40), ["api", "reviews"]);
    assert.deepEqual(await names("/x", { "x-mail": "a@example.com.evil" }, 40), ["api", "reviews"]);
  });
});
