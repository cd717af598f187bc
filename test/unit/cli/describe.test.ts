import assert from "node:assert/strict";
import { renderDescription } from "../../../cli/commands/describe.ts";
import type { ServiceDescriptionView } from "../../../discovery/http/api.ts";

const STATIC = { registry: "static", object: "mesh.yaml:3" };
const CONSUL = { registry: "consul", object: "dc1/reviews" };

const VIEW: ServiceDescriptionView = {
  key: "default/reviews",
  hostname: "reviews.default.svc.mesh.internal",
  isInForce: true,
  resolution: "static",
  vips: ["240.240.0.7"],
  names: ["reviews.default.svc.mesh.internal", "240.240.0.7", "reviews.default", "reviews.service.consul"],
  lostNames: [{ host: "reviews.shop.svc.cluster.local", owner: "east-shop/reviews" }],
  members: [
    { source: STATIC, ownKey: "default/reviews", rule: 0 },
    { source: CONSUL, ownKey: "consul/reviews", rule: 0 },
  ],
  pending: [{ source: { registry: "west", object: "default/reviews" }, ownKey: "default/reviews" }],
  namesakes: [{ source: { registry: "east", object: "shop/reviews" }, ownKey: "east-shop/reviews" }],
  ports: [{ name: "http", number: 8_080, protocol: "HTTP", source: STATIC }],
  endpoints: [
    endpoint({ servicePort: 80, addresses: ["10.0.0.1", "fd77::1"], port: 9_080, workload: "reviews", hostId: "h1", source: { registry: "hosts", object: "vm1" }, meshed: true }),
    endpoint({ addresses: ["10.0.0.1", "fd77::1"], port: 9_080, workload: "reviews", hostId: "h1", source: { registry: "hosts", object: "vm1" }, meshed: true }),
    endpoint({ addresses: ["10.0.0.2"], workload: "reviews-1", source: CONSUL, getsTraffic: false, reason: "unhealthy: it \u001b[31mburns" }),
  ],
  notes: ["consul dc1/reviews: its port 9082 is called by the number 8080 of static mesh.yaml:3", "the name reviews.shop.svc.cluster.local belongs to east-shop/reviews"],
  registries: [{ name: "consul", kind: "consul", synced: true, services: 1, workloads: 1, ageSeconds: 61.2, error: "no answer", hint: "", failingSince: "2026-01-01T00:00:00Z", notes: [] }],
  configuration: [{ resource: "VirtualService/default/reviews", position: "routes.yaml:7" }],
};

function endpoint(changes: Partial<ServiceDescriptionView["endpoints"][number]>): ServiceDescriptionView["endpoints"][number] {
  return { servicePort: 8_080, addresses: [], workload: "", source: STATIC, locality: "", zoneHints: [], nodeHints: [], network: "", weight: 1, health: "healthy", meshed: false, identity: "", labels: {}, getsTraffic: true, reason: "healthy", ...changes };
}

describe("ironmesh describe service", () => {
  it("says what it is, whose word each part is, and why each endpoint serves or does not", () => {
    assert.deepEqual(renderDescription(VIEW).split("\n"), [
      "Service:            default/reviews",
      "Hostname:           reviews.default.svc.mesh.internal",
      "Also called:        reviews.default, reviews.service.consul",
      "Virtual addresses:  240.240.0.7",
      "Endpoints:          found by address; 1 of 2 get traffic",
      "",
      "Made of:",
      "  REGISTRY  OBJECT       AS               BECAUSE",
      "  static    mesh.yaml:3  default/reviews  sameness[0]",
      "  consul    dc1/reviews  consul/reviews   sameness[0]",
      "",
      "Ports:",
      "  PORT  NAME  PROTOCOL  FROM",
      "  8080  http  HTTP      static mesh.yaml:3",
      "",
      "Endpoints:",
      "  PORT     ENDPOINT                      WORKLOAD       FROM                TLS     TRAFFIC  WHY",
      "  80,8080  10.0.0.1:9080,[fd77::1]:9080  reviews on h1  hosts vm1           mutual  yes      healthy",
      "  8080     10.0.0.2                      reviews-1      consul dc1/reviews  plain   no       unhealthy: it ?[31mburns",
      "",
      "Configuration in force:",
      "  RESOURCE                        AT",
      "  VirtualService/default/reviews  routes.yaml:7",
      "",
      "Registries:",
      "  NAME    SYNCED  AGE  ERROR",
      "  consul  yes     61s  no answer (since 2026-01-01T00:00:00Z)",
      "",
      "Findings:",
      "  - default/reviews of west has the same name and gets no traffic. To make it part of this service: sameness: [{of: [static/default/reviews, west/default/reviews]}]",
      "  - east-shop/reviews, shop/reviews of east, is another service. To make them one: sameness: [{of: [static/default/reviews, east/east-shop/reviews]}]",
      "  - reviews.shop.svc.cluster.local belongs to east-shop/reviews",
      "  - consul dc1/reviews: its port 9082 is called by the number 8080 of static mesh.yaml:3",
    ]);
  });

  it("shows the zones that endpoints are hinted for, where some are", () => {
    const [first, ...others] = VIEW.endpoints;
    assert.ok(first !== undefined);
    const lines = renderDescription({ ...VIEW, endpoints: [{ ...first, zoneHints: ["eu-1", "eu-2\u0007"] }, ...others.slice(1)] }).split("\n");
    assert.deepEqual(lines.slice(lines.indexOf("Endpoints:") + 1, lines.indexOf("Configuration in force:") - 1), [
      "  PORT  ENDPOINT                      WORKLOAD       FROM                TLS     ZONE HINTS  TRAFFIC  WHY",
      "  80    10.0.0.1:9080,[fd77::1]:9080  reviews on h1  hosts vm1           mutual  eu-1,eu-2?  yes      healthy",
      "  8080  10.0.0.2                      reviews-1      consul dc1/reviews  plain   -           no       unhealthy: it ?[31mburns",
    ]);
  });

  it("shows the nodes that endpoints are hinted for beside the zones, and where these alone are", () => {
    const [first, ...others] = VIEW.endpoints;
    assert.ok(first !== undefined);
    const titles = (hints: object): string[] => renderDescription({ ...VIEW, endpoints: [{ ...first, ...hints }, ...others] }).split("\n").filter((line) => line.includes("ENDPOINT  ") || line.includes("10.0.0.1:9080,"));
    const [title, row] = titles({ nodeHints: ["n1", "n2"] });
    assert.match(title ?? "", /TLS +NODE HINTS +TRAFFIC/);
    assert.match(row ?? "", / mutual +n1,n2 +yes /);
    assert.match(titles({ zoneHints: ["eu-1"], nodeHints: ["n1"] }).join(), /TLS +ZONE HINTS +NODE HINTS +TRAFFIC.* mutual +eu-1 +n1 +yes /);
  });

  it("says that a service without its hostname gets nothing", () => {
    assert.match(renderDescription({ ...VIEW, isInForce: false }), /Hostname: .* which it does not have: it gets no traffic/);
  });
});
