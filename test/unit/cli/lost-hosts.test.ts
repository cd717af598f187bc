import assert from "node:assert/strict";
import type { ServiceDescriptionView } from "../../../discovery/http/api.ts";
import { type ControlPlaneFixture, prepareControlPlane } from "../../support/control-plane.ts";
import { waitUntil } from "../../support/wait-until.ts";

const entry = (name: string, namespace: string, host: string, port: number): string => `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ${name}, namespace: ${namespace}}
spec: {hosts: ["${host}"], ports: [{number: ${port}, name: http}], resolution: STATIC, endpoints: [{address: 10.6.6.${port}}]}
`;
const SERVICE = `apiVersion: v1
kind: Service
metadata: {name: mine, namespace: shop}
spec: {selector: {app: mine}, ports: [{name: http, port: 80}]}
`;

describe("a host that belongs to another service", () => {
  let mesh: ControlPlaneFixture;

  beforeEach(async () => {
    mesh = prepareControlPlane();
    mesh.write("shop.yaml", [SERVICE, entry("a", "other", "api.example.com", 1), entry("b", "shop", "api.example.com", 2), entry("c", "shop", "api.example.com", 3), entry("d", "shop", "mine.shop.svc.mesh.internal", 4), entry("e", "shop", "*.example.org", 5).replace("STATIC, endpoints: [{address: 10.6.6.5}]", "NONE")].join("---\n"));
    await mesh.start();
  });
  afterEach(() => mesh.close());

  it("shows with the resource that declares it in vain, and no longer when that is alone", async () => {
    const lost = async (): Promise<string[]> => (await mesh.ironmesh("get", "config")).split("\n").flatMap((line) => /IM0217 (.*)$/.exec(line)?.[1] ?? []);
    const remedy = " (choose another host, or remove one of the two)";
    await waitUntil(async () => (await lost()).length === 3, { what: "three hosts in vain" });
    assert.deepEqual(await lost(), [
      `spec.hosts[0]: api.example.com belongs to other/api.example.com: this one is not in force for it${remedy}`,
      `spec.hosts[0]: api.example.com belongs to other/api.example.com: this one is not in force for it${remedy}`,
      `spec.hosts[0]: mine.shop.svc.mesh.internal belongs to shop/mine: this one is not in force for it${remedy}`,
    ]);
    mesh.write("shop.yaml", [SERVICE, entry("b", "shop", "api.example.com", 2)].join("---\n"));
    await waitUntil(async () => (await lost()).length === 0, { what: "a host of one service" });
  });

  it("gets no traffic, as its description says of each endpoint", async () => {
    const { isInForce, endpoints } = JSON.parse(await mesh.ironmesh("describe", "service", "shop/mine.shop.svc.mesh.internal", "-o", "json")) as ServiceDescriptionView;
    assert.equal(isInForce, false);
    assert.deepEqual(endpoints.map(({ getsTraffic, reason }) => [getsTraffic, reason]), [[false, "the service does not have its hostname"]]);
  });
});
