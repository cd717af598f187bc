import assert from "node:assert/strict";
import { describe, it } from "mocha";
import type { OutboundServiceIr } from "../../../../discovery/ir/outbound.ts";
import type { VirtualHostIr } from "../../../../discovery/ir/route.ts";
import { OutboundShape } from "../../../../discovery/push/outbound-shape.ts";

function service(hostname: string, ports: { http?: number[]; outside?: number[]; tcp?: number[] }): OutboundServiceIr {
  const virtualHost = (port: number, reach: VirtualHostIr["reach"]): VirtualHostIr => ({ port, reach, name: `${hostname}:${port}`, domains: [hostname], routes: [] });
  return {
    hostname,
    clusters: [],
    virtualHosts: [...(ports.http ?? []).map((port) => virtualHost(port, "mesh")), ...(ports.outside ?? []).map((port) => virtualHost(port, "outside"))],
    tcpRoutes: (ports.tcp ?? []).map((port) => ({ name: `tcp|${port}|${hostname}`, addresses: ["240.240.0.1"], port, serverNames: [], clusters: [] })),
  };
}

const options = { vipRanges: ["240.240.0.0/16"], unknownDestinations: "allow" } as const;

describe("OutboundShape", () => {
  it("changes with the first and the last service of an HTTP port only", () => {
    const shape = new OutboundShape();
    assert.equal(shape.apply("a", service("a", { http: [80] })), true);
    assert.equal(shape.apply("b", service("b", { http: [80] })), false);
    assert.equal(shape.apply("a", undefined), false);
    assert.deepEqual(shape.build(options).httpPorts, [80]);
    assert.equal(shape.apply("b", undefined), true);
    assert.deepEqual(shape.build(options).httpPorts, []);
  });

  it("sees a port move although the number of ports stays", () => {
    const shape = new OutboundShape();
    shape.apply("a", service("a", { http: [80] }));
    assert.equal(shape.apply("a", service("a", { http: [81] })), true);
    assert.deepEqual(shape.build(options).httpPorts, [81]);
  });

  it("keeps ports of virtual addresses and of all others apart", () => {
    const shape = new OutboundShape();
    shape.apply("a", service("a", { http: [80], outside: [443] }));
    assert.equal(shape.apply("b", service("b", { outside: [80] })), true);
    const { httpPorts, outsideHttpPorts } = shape.build(options);
    assert.deepEqual([httpPorts, outsideHttpPorts], [[80], [80, 443]]);
    assert.equal(shape.apply("a", service("a", { http: [80] })), true);
    assert.deepEqual(shape.build(options).outsideHttpPorts, [80]);
  });

  it("changes with every TCP route, and sorts them", () => {
    const shape = new OutboundShape();
    assert.equal(shape.apply("b", service("b", { tcp: [5432] })), true);
    assert.equal(shape.apply("a", service("a", { tcp: [5432] })), true);
    assert.equal(shape.apply("a", service("a", { tcp: [5432] })), false);
    assert.deepEqual(shape.build(options).tcpRoutes.map((route) => route.name), ["tcp|5432|a", "tcp|5432|b"]);
  });
});
