import assert from "node:assert/strict";
import { ServedPorts } from "../../../../discovery/push/served-ports.ts";
import type { Endpoint } from "../../../../model/endpoint.ts";

const endpoint = (workload: string, port = 8_080, servicePort = 80, weight = 1): Endpoint => ({
  servicePort,
  address: "10.0.0.1",
  port,
  workload,
  workloadName: workload,
  labels: {},
  locality: { region: "", zone: "", subZone: "" },
  network: "",
  weight,
  health: "healthy",
  meshed: false,
  source: { registry: "static", object: "" },
});

describe("ServedPorts", () => {
  it("tells of whom the ports changed, and of nobody else", () => {
    const served = new ServedPorts();
    const [a, b] = [endpoint("a"), endpoint("b")];
    assert.deepEqual([...served.apply([{ key: "s/web", after: [a, b] }])], ["a", "b"]);
    assert.deepEqual([...served.apply([{ key: "s/web", before: [a, b], after: [{ ...a, weight: 2, health: "unhealthy" }, b] }])], []);
    assert.deepEqual([...served.apply([{ key: "s/web", before: [a, b], after: [endpoint("a", 9_090), b] }])], ["a"]);
    assert.deepEqual(served.of("a"), [["s/web", [{ servicePort: 80, port: 9_090 }]]]);
    assert.deepEqual([...served.apply([{ key: "s/admin", after: [endpoint("a", 9_091, 81)] }])], ["a"]);
    assert.deepEqual(served.of("a").map(([service]) => service), ["s/admin", "s/web"]);
    assert.deepEqual([...served.apply([{ key: "s/web", before: [a, b], after: [b] }, { key: "s/admin", before: [endpoint("a", 9_091, 81)] }])], ["a"]);
    assert.deepEqual([served.of("a"), served.of("nobody")], [[], []]);
  });
});
