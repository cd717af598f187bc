import assert from "node:assert/strict";
import { fromBinary } from "@bufbuild/protobuf";
import { type Push, startPush } from "../../../../discovery/push/push.ts";
import type { RegistryService } from "../../../../discovery/registry/registry.ts";
import { NameRecordSchema } from "../../../../proto/gen/ironmesh/agent/v1/agent_pb.js";
import { TYPE_URLS } from "../../../../xds/type-urls.ts";
import { hostReport, workloadReport } from "../../../support/host-report.ts";
import { foreignService, PlainRegistry, plainWorkload } from "../../../support/plain-registry.ts";
import { BATCH_MS, type Mesh, startMesh } from "../../../support/push-mesh.ts";
import { createSlices } from "../../../support/push-slices.ts";
import { resource } from "../../../support/resource.ts";

describe("names whose endpoints change while much is built", () => {
  const COUNT = 10;
  let mesh: Mesh;
  let east: PlainRegistry;
  let slices: ReturnType<typeof createSlices>;
  let push: Push;
  let rules = 0;

  beforeEach(async () => {
    east = new PlainRegistry("east");
    for (let at = 0; at < COUNT; at += 1) put(at, ["10.0.0.1", "10.0.0.2"]);
    mesh = await startMesh({ others: [east] });
    await mesh.settled();
    slices = createSlices(mesh.clock);
    push = startPush({ ...mesh.inputs, clock: slices.clock });
  });
  afterEach(async () => {
    await push.close();
    await mesh.close();
  });

  const hostOf = (at: number): string => `s${at}.example.com`;
  const put = (at: number, addresses: readonly string[], changes: Partial<RegistryService> = {}): void =>
    east.services.apply([[`s${at}`, foreignService("shop", `s${at}`, {
      hostname: hostOf(at),
      claim: "declared",
      aliases: [`s${at}.alias.example.com`],
      backends: { kind: "explicit", workloads: addresses.map((address) => plainWorkload(address, { ports: { "": 8_080 } })) },
      ...changes,
    })]]);
  const recordOf = (host: string): { addresses: readonly string[]; aliases: readonly string[] } | undefined => {
    const found = push.shared.get(TYPE_URLS.nameRecord, host);
    return found === undefined ? undefined : fromBinary(NameRecordSchema, found.bytes);
  };
  const seen = (at: number): readonly string[] | undefined => recordOf(hostOf(at))?.addresses;
  /** Makes every service stale and begins to build them. */
  const beginAll = (): void => {
    const trafficPolicy = { connectionPool: { tcp: { maxConnections: (rules += 1) } } };
    mesh.take({ do: "write", resource: resource("DestinationRule", "all", { host: "*.example.com", trafficPolicy }, { namespace: "mesh-system" }) });
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

  it("answer with those that are left, before the rest", () => {
    beginAll();
    put(0, ["10.0.0.2"]);
    put(COUNT - 1, ["10.0.0.2", "10.0.0.3"]);
    runOne();
    assert.deepEqual([0, COUNT - 1, 1].map(seen), [["10.0.0.2"], ["10.0.0.2", "10.0.0.3"], ["10.0.0.1", "10.0.0.2"]]);
    assert.deepEqual(recordOf(hostOf(0))?.aliases, ["s0.alias.example.com"]);
    runAll();
    assert.deepEqual(seen(0), ["10.0.0.2"]);
  });

  it("answer with those that are left where they changed just before it", () => {
    put(0, ["10.0.0.2"]);
    beginAll();
    assert.deepEqual(seen(0), ["10.0.0.2"]);
  });

  it("answer with no address where none is left, and are gone in the end", () => {
    beginAll();
    put(0, []);
    runOne();
    assert.deepEqual(seen(0), []);
    runAll();
    assert.equal(recordOf(hostOf(0)), undefined);
    put(0, ["10.0.0.4"]);
    mesh.clock.advance(BATCH_MS);
    runAll();
    assert.deepEqual(seen(0), ["10.0.0.4"]);
  });

  it("are right in the end where their endpoints come back, or are gone and back", () => {
    for (const left of [["10.0.0.2"], []]) {
      beginAll();
      put(0, left);
      for (let at = 0; at < COUNT + 2; at += 1) runOne();
      put(0, ["10.0.0.1", "10.0.0.2"]);
      runOne();
      assert.deepEqual(seen(0), ["10.0.0.1", "10.0.0.2"]);
      runAll();
      assert.deepEqual(seen(0), ["10.0.0.1", "10.0.0.2"]);
      push.flush();
    }
  });

  it("stay as they are when the rest is written", async () => {
    mesh.take({ do: "write", resource: resource("WorkloadGroup", "client", { template: {} }) });
    for (let at = 1; at <= 5; at += 1) mesh.hosts.report(`host-${at}`, hostReport([workloadReport({ name: "client", group: "default/client", addresses: [`10.9.0.${at}`] })]));
    await mesh.settled();
    // What is shared is built before hosts are, and written with the last of them.
    put(0, ["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    mesh.clock.advance(BATCH_MS);
    for (let at = 0; at < 3; at += 1) runOne();
    put(0, ["10.0.0.2"]);
    while (slices.isWaiting() && push.setOf("host-1").size(TYPE_URLS.listener) === 0) {
      slices.runOne();
      assert.deepEqual(seen(0), ["10.0.0.2"]);
    }
    assert.ok(push.setOf("host-1").size(TYPE_URLS.listener) > 0, "it is written");
    assert.deepEqual(seen(0), ["10.0.0.2"]);
    runAll();
  });

  it("keep the names that they had until names that changed hands are written together", () => {
    beginAll();
    // Of two that declare a name the one whose key goes first has it.
    east.services.apply([["a", foreignService("a", "a", { hostname: "a.example.com", claim: "declared", aliases: ["s0.alias.example.com"] })]]);
    put(0, ["10.0.0.2"]);
    runOne();
    assert.deepEqual(recordOf(hostOf(0)), { ...recordOf(hostOf(0)), addresses: ["10.0.0.2"], aliases: ["s0.alias.example.com"] });
    runAll();
    assert.deepEqual([hostOf(0), "a.example.com"].map((host) => recordOf(host)?.aliases), [[], ["s0.alias.example.com"]]);
  });

  it("wait with their service where that changed itself", () => {
    beginAll();
    put(0, ["10.0.0.3"], { ports: [{ name: "", number: 81, protocol: "HTTP" }] });
    put(1, ["10.0.0.3"], { addresses: ["10.99.0.1"] });
    runOne();
    assert.deepEqual([0, 1].map(seen), [["10.0.0.1", "10.0.0.2"], ["10.0.0.1", "10.0.0.2"]]);
    runAll();
    assert.deepEqual([0, 1].map(seen), [["10.0.0.3"], ["10.99.0.1"]]);
  });
});
