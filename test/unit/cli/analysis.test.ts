import assert from "node:assert/strict";
import { type AnyResource, resourceKey } from "../../../api/resource.ts";
import { SourceCollection } from "../../../base/collection.ts";
import { followAnalysis } from "../../../cli/control-plane/analysis.ts";
import type { Findings } from "../../../discovery/config/analyze.ts";
import type { Service } from "../../../model/service.ts";
import type { Workload } from "../../../model/workload.ts";
import { createManualClock } from "../../support/manual-clock.ts";
import { plainWorkload } from "../../support/plain-registry.ts";
import { createSlices } from "../../support/push-slices.ts";
import { resource } from "../../support/resource.ts";

const SERVICE: Service = {
  namespace: "default",
  name: "db",
  hostname: "db.default.svc.mesh.internal",
  aliases: [],
  ports: [{ name: "tcp", number: 5_432, protocol: "TCP" }],
  resolution: "static",
  external: false,
  vips: [],
  labels: {},
  subjectAltNames: [],
  exportTo: ["*"],
  source: { registry: "static", object: "mesh.yaml:1" },
};

describe("followAnalysis", () => {
  const clock = createManualClock();
  const [resources, services, workloads] = [new SourceCollection<AnyResource>(), new SourceCollection<Service>(), new SourceCollection<Workload>()];
  const put = (...all: readonly AnyResource[]): void => resources.apply(all.map((one) => [resourceKey(one), one]));
  const keyOf = (host: string): string | undefined => (host === SERVICE.hostname ? "default/db" : undefined);
  const catalog = { services, workloads, names: { find: keyOf, ownerOf: keyOf }, sourcesOf: (key: string) => [services.get(key)?.source ?? SERVICE.source] };
  let runs: string[][] = [];
  const config = { resources, setFindings: (findings: Findings) => void runs.push([...findings].flatMap(([key, issues]) => issues.map(({ code }) => `${key} ${code}`)).sort()) };
  const runsAfter = (act: () => void): string[][] => {
    runs = [];
    act();
    clock.advance(10_000);
    return runs;
  };

  beforeEach(() => {
    for (const collection of [resources, services, workloads]) collection.replaceAll(new Map());
  });

  it("looks again when an answer may be another one, and for nothing else", async () => {
    put(resource("Service", "web", { selector: { app: "web" }, ports: [{ port: 80 }] }), resource("DestinationRule", "db", { host: "db" }));
    runs = [];
    const following = followAnalysis(config, catalog, { domain: "mesh.internal" }, [], clock);
    const both = ["DestinationRule/default/db IM0210", "Service/default/web IM0214"];
    assert.deepEqual(runs, [both]);
    const web: Workload = { ...plainWorkload("10.0.0.1"), labels: { app: "web" } };
    assert.deepEqual(runsAfter(() => workloads.apply([["1", web]])), [[both[0]]]);
    assert.deepEqual(runsAfter(() => workloads.apply([["1", { ...web, health: "unhealthy", weight: 3 }], ["2", web]])), []);
    assert.deepEqual(runsAfter(() => services.apply([["default/db", SERVICE]])), [[]]);
    assert.deepEqual(runsAfter(() => services.apply([["default/db", { ...SERVICE, vips: ["240.240.0.1"] }]])), []);
    assert.deepEqual(runsAfter(() => services.apply([["default/db", { ...SERVICE, source: { registry: "east", object: "default/db" } }]])), [[]]);
    assert.deepEqual(runsAfter(() => workloads.apply([["1", undefined], ["2", undefined]])), [[both[1]]]);
    assert.deepEqual(runsAfter(() => resources.apply([["Service/default/web", undefined]])), [[]]);
    await following.close();
    assert.deepEqual(runsAfter(() => services.apply([["default/db", undefined]])), []);
  });

  it("takes turns with everything else, and looks once more at what changed meanwhile", async () => {
    put(...Array.from({ length: 20 }, (_, at) => resource("DestinationRule", `db-${at}`, { host: `db-${at}` })));
    const slices = createSlices(clock);
    const following = followAnalysis(config, catalog, { domain: "mesh.internal" }, [], slices.clock);
    runs = [];
    put(resource("DestinationRule", "cache", { host: "cache" }));
    clock.advance(10_000);
    assert.equal(slices.isWaiting(), true);
    resources.apply([["DestinationRule/default/cache", undefined]]);
    while (slices.runOne());
    assert.equal(runs.length, 1);
    clock.advance(10_000);
    while (slices.runOne());
    assert.deepEqual(runs.map((found) => found.length), [21, 20]);
    await following.close();
  });
});
