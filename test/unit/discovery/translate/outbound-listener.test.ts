import assert from "node:assert/strict";
import type { ProxyIr, ProxyWorkloadIr } from "../../../../discovery/ir/proxy.ts";
import { translateOutboundListener } from "../../../../discovery/translate/outbound-listener.ts";
import type { Listener } from "../../../../proto/gen/envoy/config/listener/v3/listener_pb.js";

const ROUTE = { addresses: ["240.240.0.2"], port: 5432, serverNames: [], clusters: [{ cluster: "c", weight: 1 }] };

function chains(outbound: Partial<ProxyWorkloadIr["outbound"]>): { name: string; port: number | undefined; ranges: string[] }[] {
  const workload: ProxyWorkloadIr = {
    name: "web",
    namespace: "default",
    identity: "spiffe://t/ns/default/sa/web",
    outboundPort: 15_101,
    outbound: { httpPorts: [], outsideHttpPorts: [], tcpRoutes: [], vipRanges: ["240.240.0.0/16"], unknownDestinations: "allow", ...outbound },
    inbound: [],
  };
  const proxy: ProxyIr = { hostId: "h", inboundPort: 15_006, workloads: [workload], clientValidation: { name: "v", trustBundles: {} } };
  const listener = translateOutboundListener(workload, proxy).message as Listener;
  return listener.filterChains.map(({ name, filterChainMatch }) => ({
    name,
    port: filterChainMatch?.destinationPort,
    ranges: (filterChainMatch?.prefixRanges ?? []).map(({ addressPrefix, prefixLen }) => `${addressPrefix}/${prefixLen}`),
  }));
}

describe("outbound listener", () => {
  it("has no two chains with one match, whatever the services say", () => {
    const made = chains({
      httpPorts: [5432],
      tcpRoutes: [
        { ...ROUTE, name: "a" },
        { ...ROUTE, name: "b" },
        { ...ROUTE, name: "c", addresses: ["240.240.0.3", "240.240.0.2"] },
      ],
    });
    assert.deepEqual(made.filter(({ name }) => ["a", "b", "c"].includes(name)).map(({ name }) => name), ["a"]);
    const matches = made.flatMap(({ port, ranges }) => ranges.map((range) => `${port} ${range}`));
    assert.equal(new Set(matches).size, matches.length);
  });

  it("closes on every port what is left of the virtual ranges and of loopback: Envoy never falls back to chains without a port", () => {
    const made = chains({ httpPorts: [80], tcpRoutes: [{ ...ROUTE, name: "a" }] });
    for (const port of [80, 5432, undefined]) {
      const ranges = made.filter((chain) => chain.port === port).flatMap((chain) => chain.ranges);
      assert.equal(ranges.includes("240.240.0.0/16"), true, `${port}`);
      assert.equal(ranges.includes("127.0.0.0/8") && ranges.includes("::1/128"), true, `${port}`);
    }
  });
});
