import assert from "node:assert/strict";
import { followFirstContent } from "../../../cli/control-plane/first-content.ts";
import { viewRegistry } from "../../../cli/control-plane/registry-view.ts";
import { type Catalog, createCatalog } from "../../../discovery/catalog/catalog.ts";
import { VipAllocator } from "../../../discovery/catalog/vip.ts";
import type { RegistryService, RegistryStatus } from "../../../discovery/registry/registry.ts";
import { createMemoryStore } from "../../../store/memory.ts";
import { createManualClock } from "../../support/manual-clock.ts";
import { foreignService, PlainRegistry } from "../../support/plain-registry.ts";
import { createSlices } from "../../support/push-slices.ts";

class AnsweringRegistry extends PlainRegistry {
  isSynced = false;
  override status(): RegistryStatus {
    return { ...super.status(), synced: this.isSynced, notes: ["a word of its own"] };
  }
}

describe("the first content of registries", () => {
  let slices: ReturnType<typeof createSlices>;
  let consul: AnsweringRegistry;
  let east: AnsweringRegistry;
  let catalog: Catalog;
  let openTasks: () => readonly string[];

  beforeEach(async () => {
    slices = createSlices(createManualClock());
    consul = new AnsweringRegistry("consul", true);
    east = new AnsweringRegistry("east", true);
    const registries = [consul, east];
    catalog = createCatalog({
      registries,
      meshDomain: "mesh.internal",
      trustDomain: "mesh.internal",
      vips: await VipAllocator.load({ store: createMemoryStore(), ranges: ["240.240.0.0/16", "2001:2::/48"], now: () => 0 }),
      onVipFailure: (failure) => assert.fail(String(failure)),
      clock: slices.clock,
      pace: { atOnce: 1, atATime: 1 },
    });
    openTasks = followFirstContent(registries, catalog);
  });
  afterEach(() => catalog.close());

  const answer = (registry: AnsweringRegistry, count: number, port: number): void => {
    registry.isSynced = true;
    const ports: RegistryService["ports"] = [{ name: "", number: port, protocol: "HTTP" }];
    registry.services.apply(Array.from({ length: count }, (_, at) => [`s${at}`, foreignService(registry.name, `s${at}`, { aliases: [], ports })]));
  };

  it("is waited for until all of it is in the catalog, and what takes turns later is not", () => {
    assert.deepEqual(openTasks(), ["registry consul has not synced", "registry east has not synced"]);
    answer(consul, 4, 80);
    answer(east, 1, 80);
    assert.deepEqual(openTasks(), ["registry consul has synced: 3 of its services are on their way into the catalog"]);
    while (slices.runOne());
    assert.deepEqual(openTasks(), []);
    answer(consul, 4, 81);
    assert.equal(catalog.waiting().size, 3);
    assert.deepEqual(openTasks(), []);
  });

  it("is told of as what it is, while it takes turns", () => {
    const notes = (): readonly string[] => viewRegistry(consul, catalog).notes;
    answer(consul, 4, 80);
    assert.deepEqual(notes(), ["a word of its own", "what it tells of 3 services is on its way into the catalog"]);
    assert.deepEqual(viewRegistry(east, catalog).notes, ["a word of its own"]);
    while (slices.runOne());
    assert.deepEqual(notes(), ["a word of its own"]);
  });
});
