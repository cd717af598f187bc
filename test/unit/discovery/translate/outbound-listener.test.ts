import assert from "node:assert/strict";
import { toJsonString } from "@bufbuild/protobuf";
import type { ProxyIr, ProxyWorkloadIr } from "../../../../discovery/ir/proxy.ts";
import { translateOutboundListener } from "../../../../discovery/translate/outbound-listener.ts";
import { type Listener, ListenerSchema } from "../../../../proto/gen/envoy/config/listener/v3/listener_pb.js";
import { PROTO_REGISTRY } from "../../../../proto/registry.ts";

const ROUTE = { addresses: ["240.240.0.2"], port: 5432, serverNames: [], clusters: [{ cluster: "c", weight: 1 }] };

function listenerOf(outbound: Partial<ProxyWorkloadIr["outbound"]>): Listener {
  const workload: ProxyWorkloadIr = {
    name: "web",
    namespace: "default",
    identity: "spiffe://t/ns/default/sa/web",
    outboundPort: 15_101,
    outbound: { httpPorts: [], outsideHttpPorts: [], tcpRoutes: [], vipRanges: ["240.240.0.0/16"], unknownDestinations: "allow", ...outbound },
    inbound: [],
  };
  const proxy: ProxyIr = { hostId: "h", inboundPort: 15_006, workloads: [workload], clientValidation: { name: "v", trustBundles: {} } };
  return translateOutboundListener(workload, proxy.accessLog).message as Listener;
}

function chains(outbound: Partial<ProxyWorkloadIr["outbound"]>): { name: string; port: number | undefined; ranges: string[] }[] {
  return listenerOf(outbound).filterChains.map(({ name, filterChainMatch }) => ({
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

  it("differs in its chains alone while services come on usual ports: a change of anything else ends all of its connections", () => {
    const withoutChains = (outbound: Parameters<typeof listenerOf>[0]): string => toJsonString(ListenerSchema, { ...listenerOf(outbound), filterChains: [] }, { registry: PROTO_REGISTRY });
    const before = withoutChains({});
    const tls = (port: number): Parameters<typeof listenerOf>[0] => ({ tcpRoutes: [{ ...ROUTE, name: "tls", port, serverNames: ["x.example.com"] }] });
    for (const outbound of [{ httpPorts: [80, 4711] }, { tcpRoutes: [{ ...ROUTE, name: "a" }] }, { outsideHttpPorts: [80, 8080, 9200] }, tls(443), tls(8443)]) {
      assert.equal(withoutChains(outbound), before, JSON.stringify(outbound));
    }
    for (const outbound of [{ outsideHttpPorts: [4711] }, tls(4711)]) assert.notEqual(withoutChains(outbound), before);
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
