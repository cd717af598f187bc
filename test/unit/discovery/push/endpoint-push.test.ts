import assert from "node:assert/strict";
import { type Push, startPush } from "../../../../discovery/push/push.ts";
import type { Workload } from "../../../../model/workload.ts";
import { foreignService, PlainRegistry, plainWorkload } from "../../../support/plain-registry.ts";
import { TYPE_URLS } from "../../../../xds/type-urls.ts";
import { BATCH_MS, HOSTS, type Mesh, startMesh } from "../../../support/push-mesh.ts";
import { createSlices, endpointsOf } from "../../../support/push-slices.ts";
import { resource } from "../../../support/resource.ts";

describe("endpoints that change while much is built", () => {
  const COUNT = 10;
  let mesh: Mesh;
  let east: PlainRegistry;
  let slices: ReturnType<typeof createSlices>;
  let push: Push;
  let rules = 0;

  beforeEach(async () => {
    east = new PlainRegistry("east");
    for (let at = 0; at < COUNT; at += 1) put(at, { "10.0.0.1": {}, "10.0.0.2": {} });
    mesh = await startMesh({ others: [east] });
    await mesh.settled();
    slices = createSlices(mesh.clock);
    push = startPush({ ...mesh.inputs, clock: slices.clock });
  });
  afterEach(async () => {
    await push.close();
    await mesh.close();
  });

  const put = (at: number, workloads: Readonly<Record<string, Partial<Workload>>>, port = 80): void =>
    east.services.apply([[`s${at}`, foreignService("shop", `s${at}`, {
      ports: [{ name: "", number: port, protocol: "HTTP" }],
      backends: { kind: "explicit", workloads: Object.entries(workloads).map(([address, changes]) => plainWorkload(address, { ports: { "": 8_080 }, ...changes })) },
    })]]);
  const seen = (at: number): string[] => endpointsOf(push, `outbound|80||s${at}.shop.svc.mesh.internal`);
  /** Makes every service stale and begins to build them. */
  const beginAll = (): void => {
    const trafficPolicy = { connectionPool: { tcp: { maxConnections: (rules += 1) } } };
    mesh.take({ do: "write", resource: resource("DestinationRule", "all", { host: "*.mesh.internal", trafficPolicy }, { namespace: "mesh-system" }) });
    mesh.clock.advance(BATCH_MS);
    assert.ok(slices.isWaiting());
  };
  const runOne = (): void => {
    slices.runOne();
    assert.ok(slices.isWaiting(), "it is not done yet");
  };
  const runAll = (): void => {
    while (slices.runOne());
  };

  it("are told of before the rest", () => {
    beginAll();
    put(0, { "10.0.0.2": {} });
    put(COUNT - 1, { "10.0.0.1": { health: "unhealthy" }, "10.0.0.2": {}, "10.0.0.3": {} });
    put(1, {});
    runOne();
    assert.deepEqual([0, COUNT - 1, 1].map(seen), [["10.0.0.2 HEALTHY"], ["10.0.0.1 UNHEALTHY", "10.0.0.2 HEALTHY", "10.0.0.3 HEALTHY"], []]);
  });

  it("are told of before the rest where they changed just before it", () => {
    put(0, { "10.0.0.2": {} });
    beginAll();
    assert.deepEqual(seen(0), ["10.0.0.2 HEALTHY"]);
  });

  it("are right in the end where they come back", () => {
    beginAll();
    put(0, { "10.0.0.2": {} });
    runOne();
    put(0, { "10.0.0.1": {}, "10.0.0.2": {} });
    push.flush();
    assert.deepEqual(seen(0), ["10.0.0.1 HEALTHY", "10.0.0.2 HEALTHY"]);
  });

  it("are right in the end where they die after they were built", () => {
    for (let at = 0; at < COUNT; at += 1) put(at, { "10.0.0.1": {}, "10.0.0.2": {}, "10.0.0.3": {} });
    mesh.clock.advance(BATCH_MS);
    for (let at = 1; at < COUNT / 2; at += 1) runOne();
    put(0, { "10.0.0.2": {} });
    runOne();
    assert.deepEqual(seen(0), ["10.0.0.2 HEALTHY"]);
    runAll();
    assert.deepEqual(seen(0), ["10.0.0.2 HEALTHY"]);
  });

  it("stay as they are when the rest is written", async () => {
    mesh.take({ do: "write", resource: resource("WorkloadGroup", "client", { template: {} }) });
    for (const host of HOSTS) mesh.take({ do: "report", host, groups: ["default/client"], isHealthy: true });
    await mesh.settled();
    put(0, { "10.0.0.1": {}, "10.0.0.2": {}, "10.0.0.3": {} });
    mesh.clock.advance(BATCH_MS);
    runOne();
    put(0, { "10.0.0.2": {} });
    while (slices.isWaiting()) slices.runOne();
    assert.ok(push.setOf("h2").size(TYPE_URLS.listener) > 0, "it is written");
    assert.deepEqual(seen(0), ["10.0.0.2 HEALTHY"]);
  });

  it("wait for the cluster that takes their identity, and those before them stay until then where there is no other", () => {
    const of = (serviceAccount: string): Partial<Workload> => ({ meshed: true, serviceAccount });
    for (const at of [0, 1]) put(at, { "10.0.0.1": of("old"), "10.0.0.2": of("old") });
    mesh.clock.advance(BATCH_MS);
    runAll();
    beginAll();
    put(0, { "10.0.0.2": of("old"), "10.0.0.3": of("new") });
    put(1, { "10.0.0.3": of("new") });
    runOne();
    assert.deepEqual([0, 1].map(seen), [["10.0.0.2 HEALTHY"], ["10.0.0.1 HEALTHY", "10.0.0.2 HEALTHY"]]);
    runAll();
    assert.deepEqual([0, 1].map(seen), [["10.0.0.2 HEALTHY", "10.0.0.3 HEALTHY"], ["10.0.0.3 HEALTHY"]]);
  });

  it("wait with their service where that changed itself", () => {
    beginAll();
    put(0, { "10.0.0.3": {} }, 81);
    runOne();
    assert.deepEqual(seen(0), ["10.0.0.1 HEALTHY", "10.0.0.2 HEALTHY"]);
    runAll();
    assert.deepEqual(endpointsOf(push, "outbound|81||s0.shop.svc.mesh.internal"), ["10.0.0.3 HEALTHY"]);
  });
});
