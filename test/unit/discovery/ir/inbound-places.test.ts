import assert from "node:assert/strict";
import { settleInboundPlaces } from "../../../../discovery/ir/inbound-places.ts";
import type { InboundPortIr, ProxyWorkloadIr } from "../../../../discovery/ir/proxy.ts";

describe("settleInboundPlaces", () => {
  it("leaves workloads with addresses or ports of their own as they are", () => {
    const workloads = [workload("a", port(80, "10.0.0.1"), port(81, "10.0.0.1")), workload("b", port(80, "10.0.0.2"), port(82, "10.0.0.1"))];
    assert.deepEqual(settleInboundPlaces(workloads), { workloads, contested: [] });
  });

  it("gives a place that two claim to the first by name, and tells what the other lost", () => {
    const { workloads, contested } = settleInboundPlaces([workload("b", port(80, "10.0.0.1")), workload("a", port(80, "10.0.0.1"))]);
    assert.deepEqual(workloads.map(({ name, inbound }) => [name, inbound.length]), [["a", 1], ["b", 0]]);
    assert.deepEqual(contested, [{ workload: "b", address: "10.0.0.1", port: 80, owner: "a" }]);
  });

  it("takes only the contested address from a port", () => {
    const { workloads, contested } = settleInboundPlaces([workload("a", port(80, "10.0.0.1")), workload("b", port(80, "10.0.0.1", "10.0.0.2"))]);
    assert.deepEqual(workloads[1]?.inbound, [port(80, "10.0.0.2")]);
    assert.equal(contested.length, 1);
  });

  it("reads a port without addresses as one of every address", () => {
    for (const [first, second] of [[port(80), port(80, "10.0.0.1")], [port(80, "10.0.0.1"), port(80)], [port(80), port(80)]] as const) {
      const { workloads, contested } = settleInboundPlaces([workload("a", first), workload("b", second)]);
      assert.deepEqual(workloads.map(({ inbound }) => inbound), [[first], []]);
      assert.equal(contested[0]?.owner, "a");
    }
  });
});

function port(number: number, ...addresses: string[]): InboundPortIr {
  return { port: number, addresses, protocol: "http1", mtls: "STRICT", authorization: { deny: [], allow: [] } };
}

function workload(name: string, ...inbound: InboundPortIr[]): ProxyWorkloadIr {
  return {
    name,
    namespace: "default",
    identity: `spiffe://mesh.internal/ns/default/sa/${name}`,
    outboundPort: 15_101,
    outbound: { httpPorts: [], outsideHttpPorts: [], tcpRoutes: [], vipRanges: [], unknownDestinations: "allow" },
    inbound,
  };
}
