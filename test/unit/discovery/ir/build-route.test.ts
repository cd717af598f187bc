import assert from "node:assert/strict";
import type { Specs } from "../../../../api/resource.ts";
import { buildRoutes } from "../../../../discovery/ir/build-route.ts";
import type { MeshView } from "../../../../discovery/ir/mesh-view.ts";
import type { RouteIr } from "../../../../discovery/ir/route.ts";
import type { Service } from "../../../../model/service.ts";
import { resource } from "../../../support/resource.ts";

type HttpRoute = NonNullable<Specs["VirtualService"]["http"]>[number];

/** A mesh that holds nothing: destinations keep the names that they were written with. */
const view: MeshView = {
  service: () => undefined,
  virtualService: () => undefined,
  destinationRule: () => undefined,
  domains: () => [],
  identities: () => [],
  dnsEndpoints: () => [],
  trustBundles: () => ({}),
  meshDomain: "mesh.internal",
  vipRanges: [],
};
const route = [{ destination: { host: "web" } }];

describe("buildRoutes", () => {
  it("sends nobody on a cluster's word to a service that its own was joined into", () => {
    const service = { hostname: "ratings.default.svc.mesh.internal", namespace: "default", ports: [] } as unknown as Service;
    const joined: MeshView = { ...view, service: () => service };
    const lead = (confinedTo: string | undefined, host: string): readonly string[] => {
      const written = resource("VirtualService", "web", { hosts: ["web"], http: [{ route: [{ destination: { host } }], mirror: { host } }] }, { namespace: "east-shop" });
      const [built] = buildRoutes({ ...written, ...(confinedTo === undefined ? {} : { confinedTo }) }, 80, joined);
      return built?.action.kind === "forward" ? [...built.action.clusters, ...built.action.mirrors].map(({ cluster }) => cluster) : [];
    };
    const [nowhere, there] = ["outbound|80||ratings.east-shop.svc.mesh.internal", "outbound|80||ratings.default.svc.mesh.internal"];
    assert.deepEqual(lead("east-", "ratings"), [nowhere, nowhere]);
    assert.deepEqual(lead(undefined, "ratings"), [there, there]);
    assert.deepEqual(lead("east-", "ratings.example.com"), [there, there], "what the registry's resourceHosts allow");
  });

  it("hits no request with a fault that has no percentage", () => {
    assert.deepEqual(build({ route, fault: { delay: { fixedDelay: "2s" }, abort: { httpStatus: 500 } } }).fault, {
      delay: { fixedDelayMs: 2_000, percentage: 0 },
      abort: { httpStatus: 500, percentage: 0 },
    });
  });

  it("reads a gRPC status by name and by number", () => {
    const status = (grpcStatus: string): unknown => build({ route, fault: { abort: { grpcStatus, percentage: { value: 12.5 } } } }).fault?.abort;
    assert.deepEqual(status("UNAVAILABLE"), { grpcStatus: 14, percentage: 12.5 });
    assert.deepEqual(status("7"), { grpcStatus: 7, percentage: 12.5 });
  });

  it("mirrors everything where no percentage is written", () => {
    assert.deepEqual(forward({ route, mirror: { host: "shadow" } }).mirrors, [{ cluster: "outbound|80||shadow.default.svc.mesh.internal", percentage: 100 }]);
    assert.equal(forward({ route, mirror: { host: "shadow" }, mirrorPercentage: { value: 0 } }).mirrors[0]?.percentage, 0);
    assert.equal(forward({ route, mirrors: [{ destination: { host: "shadow" }, percentage: { value: 5 } }] }).mirrors[0]?.percentage, 5);
  });

  it("divides what is retried into conditions and status codes", () => {
    assert.deepEqual(forward({ route, retries: { attempts: 3, retryOn: "5xx, 409", perTryTimeout: "1s" } }).retry, {
      attempts: 3,
      retryOn: ["5xx", "retriable-status-codes"],
      retriableStatusCodes: [409],
      perTryTimeoutMs: 1_000,
    });
    assert.equal(forward({ route, retries: { attempts: 0 } }).retry, undefined);
    assert.deepEqual(forward({ route }).retry?.retryOn, ["connect-failure", "refused-stream", "unavailable", "cancelled"]);
  });

  it("reads an empty match of a header or parameter as presence", () => {
    const { match } = build({ route, match: [{ headers: { "X-User": {} }, withoutHeaders: { robot: { exact: "yes" } }, queryParams: { q: {} }, method: { exact: "GET" } }] });
    assert.deepEqual(match.headers, [
      { name: ":method", match: { kind: "exact", value: "GET" }, inverted: false },
      { name: "x-user", match: "present", inverted: false },
      { name: "robot", match: { kind: "exact", value: "yes" }, inverted: true },
    ]);
    assert.deepEqual(match.queryParams, [{ name: "q", match: "present" }]);
  });

  it("makes a Host header that is set a rewrite of the authority", () => {
    const built = build({ route, headers: { request: { set: { Host: "inner", "x-a": "1" } } } });
    assert.deepEqual(built.action.kind === "forward" && built.action.rewrite, { authority: "inner" });
    assert.deepEqual(built.headers.request.set, { "x-a": "1" });
  });

  it("keeps a route out of the tables of other ports than it names", () => {
    const resourceOf = resource("VirtualService", "web", { hosts: ["web"], http: [{ match: [{ port: 81 }], route }, { route }] });
    assert.deepEqual(buildRoutes(resourceOf, 80, view).map(({ name }) => name), ["VirtualService default/web http[1]"]);
    assert.equal(buildRoutes(resourceOf, 81, view).length, 2);
  });
});

function build(written: HttpRoute): RouteIr {
  const [built] = buildRoutes(resource("VirtualService", "web", { hosts: ["web"], http: [written] }), 80, view);
  assert.ok(built);
  return built;
}

function forward(written: HttpRoute): RouteIr["action"] & { kind: "forward" } {
  const { action } = build(written);
  assert.equal(action.kind, "forward");
  return action;
}
