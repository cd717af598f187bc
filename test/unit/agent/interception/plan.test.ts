import assert from "node:assert/strict";
import { BlockList, isIP } from "node:net";
import * as fc from "fast-check";
import type { CaptureSpec, OutboundScope } from "../../../../agent/interception/capture-spec.ts";
import { planCapture } from "../../../../agent/interception/plan.ts";
import type { CapturePlan } from "../../../../agent/interception/plan.ts";
import type { ChainName, Rule, RuleMatch } from "../../../../agent/interception/rule.ts";

const SPEC: CaptureSpec = {
  proxyUid: 900,
  inboundListenerPort: 15_006,
  outbound: [
    { workload: "one", match: { uids: [1001] }, outboundPort: 15_101 },
    { workload: "two", match: { uids: [1002] }, outboundPort: 15_102 },
  ],
  inbound: [
    { workload: "one", port: 8080, failClosed: true },
    { workload: "two", port: 9090, failClosed: false },
  ],
  outboundScope: "all",
  exclusions: { ports: [5432], cidrs: ["192.0.2.0/24"] },
  vips: { v4: ["240.240.0.0/16"], v6: ["2001:2::/48"] },
  managementPorts: [15_020],
};

/** A connection as the rules see it. */
interface Connection {
  readonly uid: number;
  readonly source: string;
  readonly destination: string;
  readonly port: number;
  readonly isToLocal: boolean;
}

const HOST_ADDRESS = "10.0.0.1";

function planOf(spec: CaptureSpec): CapturePlan {
  const plan = planCapture(spec);
  assert.ok(plan.ok, JSON.stringify(plan));
  return plan.value;
}

function isWithin(address: string, ranges: readonly string[]): boolean {
  const list = new BlockList();
  for (const range of ranges) {
    const [net = "", length = ""] = range.split("/");
    const family = isIP(net) === 6 ? "ipv6" : "ipv4";
    list.addSubnet(net, length === "" ? (family === "ipv6" ? 128 : 32) : Number(length), family);
  }
  return list.check(address, isIP(address) === 6 ? "ipv6" : "ipv4");
}

function isMatch(match: RuleMatch, connection: Connection): boolean {
  return (
    match.protocol !== "udp" &&
    match.isFromLoopback !== true &&
    match.isRedirected !== true &&
    match.isEstablished !== true &&
    (match.family === undefined || match.family === isIP(connection.destination)) &&
    (match.sources === undefined || isWithin(connection.source, match.sources)) &&
    (match.destinations === undefined || isWithin(connection.destination, match.destinations)) &&
    (match.isToLocal === undefined || connection.isToLocal) &&
    (match.destinationPorts === undefined || match.destinationPorts.includes(connection.port)) &&
    (match.uids === undefined || match.uids.includes(connection.uid)) &&
    match.cgroup === undefined
  );
}

/** What the kernel does with a connection that a process of this host opens: a port, `rejected`, or `direct`. */
function judge(plan: CapturePlan, connection: Connection): number | "rejected" | "direct" {
  const walk = (rules: readonly Rule[]): number | "rejected" | undefined => {
    for (const { match, verdict } of rules) {
      if (!isMatch(match, connection)) continue;
      if (verdict.kind === "redirect") return verdict.port;
      if (verdict.kind === "reject") return "rejected";
      if (verdict.kind === "return") return undefined;
      if (verdict.kind === "jump") {
        const result = walk({ ...plan.capture, ...plan.guard }[verdict.chain satisfies ChainName]);
        if (result !== undefined) return result;
      }
    }
    return undefined;
  };
  return walk(plan.capture.output) ?? walk(plan.capture.vip_guard) ?? walk(plan.guard.guard_output) ?? "direct";
}

const open = (changes: Partial<Connection>): Connection => ({ uid: 1001, source: HOST_ADDRESS, destination: "10.0.0.2", port: 80, isToLocal: false, ...changes });

describe("interception plan", () => {
  const plan = planOf(SPEC);

  it("sends workloads to their listeners, and leaves others and exclusions alone", () => {
    assert.equal(judge(plan, open({})), 15_101);
    assert.equal(judge(plan, open({ uid: 1002 })), 15_102);
    assert.equal(judge(plan, open({ uid: 0 })), "direct");
    assert.equal(judge(plan, open({ uid: 900 })), "direct");
    assert.equal(judge(plan, open({ port: 5432 })), "direct");
    assert.equal(judge(plan, open({ destination: "192.0.2.7" })), "direct");
    assert.equal(judge(plan, open({ destination: "127.0.0.1", isToLocal: true })), "direct");
    assert.equal(judge(plan, open({ destination: "2001:2::7", source: "::1", port: 5432 })), 15_101, "a virtual address knows no exclusion");
  });

  it("matches nothing but the opening packet of TCP, so that established connections live", () => {
    const rules = [...Object.values(plan.capture), ...Object.values(plan.guard)].flat();
    for (const { comment, match, verdict } of rules) {
      if (verdict.kind === "redirect" || verdict.kind === "reject") assert.equal(match.protocol, "tcp-syn", comment);
    }
  });

  it("never touches SSH and never closes a management port, whatever is asked for", () => {
    fc.assert(
      fc.property(specs(), connections(), (spec, connection) => {
        const any = planOf(spec);
        assert.equal(judge(any, { ...connection, port: 22 }), "direct");
        assert.notEqual(judge({ ...any, capture: { ...any.capture, output: [], vip_guard: [] } }, { ...connection, port: 15_020 }), "rejected");
      }),
      { numRuns: 500 },
    );
  });

  it("lets nobody but the proxy's deliveries reach a fail-closed port, with and without capture", () => {
    fc.assert(
      fc.property(specs(), connections(), (spec, connection) => {
        const any = planOf(spec);
        const paused: CapturePlan = { ...any, capture: { ...any.capture, output: [], vip_guard: [] } };
        const isDelivery = connection.uid === spec.proxyUid && ["127.0.0.6", "::6"].includes(connection.source);
        for (const { port } of spec.inbound.filter((inbound) => inbound.failClosed)) {
          const dialed = { ...connection, port, isToLocal: true };
          if (isDelivery) assert.equal(judge(any, dialed), "direct");
          else {
            assert.notEqual(judge(any, dialed), "direct");
            assert.equal(judge(paused, dialed), "rejected");
          }
        }
      }),
      { numRuns: 500 },
    );
  });

  it("gives a workload no listener but its own", () => {
    fc.assert(
      fc.property(specs(), connections(), (spec, connection) => {
        const landed = judge(planOf(spec), connection);
        const owner = spec.outbound.find((capture) => capture.outboundPort === landed);
        if (owner) assert.ok(owner.match.uids?.includes(connection.uid));
      }),
      { numRuns: 500 },
    );
  });

  it("is the same for the same spec in another order", () => {
    const shuffled = { ...SPEC, outbound: SPEC.outbound.map((capture) => ({ ...capture, match: { uids: [...(capture.match.uids ?? [])].reverse() } })), inbound: [...SPEC.inbound].reverse() };
    assert.deepEqual(planOf(shuffled).capture.prerouting, plan.capture.prerouting);
    assert.deepEqual(JSON.parse(JSON.stringify(plan)), plan, "it is plain data");
  });
});

describe("interception spec", () => {
  const cases: readonly (readonly [string, Partial<CaptureSpec>, string, string])[] = [
    ["root as the proxy", { proxyUid: 0 }, "IM0702", "proxyUid"],
    ["root as a workload", { outbound: [{ workload: "w", match: { uids: [0] }, outboundPort: 15_101 }] }, "IM0704", "outbound[0].match.uids[0]"],
    ["the agent's own user as a workload", { probeUids: [902], outbound: [{ workload: "w", match: { uids: [902] }, outboundPort: 15_101 }] }, "IM0704", "outbound[0].match.uids[0]"],
    ["a cgroup that holds the agent", { agentCgroup: "system.slice/ironmesh-agent.service", outbound: [{ workload: "w", match: { cgroups: ["/system.slice"] }, outboundPort: 15_101 }] }, "IM0704", "outbound[0].match.cgroups[0]"],
    ["the agent's own cgroup", { agentCgroup: "mesh/agent", outbound: [{ workload: "w", match: { cgroups: ["mesh/agent"] }, outboundPort: 15_101 }] }, "IM0704", "outbound[0].match.cgroups[0]"],
    ["the proxy as a workload", { outbound: [{ workload: "w", match: { uids: [900] }, outboundPort: 15_101 }] }, "IM0704", "outbound[0].match.uids[0]"],
    ["a workload of no process", { outbound: [{ workload: "w", match: {}, outboundPort: 15_101 }] }, "IM0703", "outbound[0].match"],
    ["the root cgroup", { outbound: [{ workload: "w", match: { cgroups: ["/"] }, outboundPort: 15_101 }] }, "IM0705", "outbound[0].match.cgroups[0]"],
    ["a cgroup that ends a rule", { outbound: [{ workload: "w", match: { cgroups: ['a" accept'] }, outboundPort: 15_101 }] }, "IM0705", "outbound[0].match.cgroups[0]"],
    ["a name that ends a comment", { outbound: [{ workload: 'w" accept', match: { uids: [1] }, outboundPort: 15_101 }] }, "IM0706", "outbound[0].workload"],
    ["SSH inbound", { inbound: [{ workload: "w", port: 22, failClosed: true }] }, "IM0707", "inbound[0].port"],
    ["a management port inbound", { inbound: [{ workload: "w", port: 15_020, failClosed: true }] }, "IM0707", "inbound[0].port"],
    ["no address", { inbound: [{ workload: "w", port: 80, addresses: [], failClosed: true }] }, "IM0708", "inbound[0].addresses"],
    ["a range as an address", { inbound: [{ workload: "w", port: 80, addresses: ["10.0.0.0/8"], failClosed: true }] }, "IM0708", "inbound[0].addresses[0]"],
    ["one port, two owners", { inbound: [...SPEC.inbound, { workload: "three", port: 8080, failClosed: false }] }, "IM0709", "inbound[2]"],
    ["a listener's port inbound", { inbound: [{ workload: "w", port: 15_101, failClosed: false }] }, "IM0709", "inbound[0].port"],
    ["one listener, two workloads", { outbound: SPEC.outbound.map((capture) => ({ ...capture, outboundPort: 15_101 })) }, "IM0709", "outbound[1].outboundPort"],
    ["one user, two workloads", { outbound: SPEC.outbound.map((capture) => ({ ...capture, match: { uids: [1001] } })) }, "IM0709", "outbound[1].match.uids"],
    ["a port out of range", { exclusions: { ports: [0], cidrs: [] } }, "IM0701", "exclusions.ports[0]"],
    ["a range without length", { exclusions: { ports: [], cidrs: ["10.0.0.1"] } }, "IM0710", "exclusions.cidrs[0]"],
    ["a range of the wrong family", { vips: { v4: ["2001:2::/48"], v6: [] } }, "IM0710", "vips.v4[0]"],
  ];
  for (const [what, changes, code, path] of cases) {
    it(`refuses ${what}`, () => {
      const plan = planCapture({ ...SPEC, ...changes });
      assert.ok(!plan.ok);
      assert.ok(plan.error.some((issue) => issue.code === code && issue.path === path), JSON.stringify(plan.error));
    });
  }
});

function specs(): fc.Arbitrary<CaptureSpec> {
  const ports = fc.uniqueArray(fc.integer({ min: 1024, max: 14_000 }), { minLength: 1, maxLength: 4 });
  return fc.record({ ports, closed: fc.array(fc.boolean(), { minLength: 4, maxLength: 4 }), scope: fc.constantFrom<OutboundScope>("all", "vips"), excluded: fc.array(fc.integer({ min: 1, max: 65_535 }), { maxLength: 3 }) }).map(
    ({ ports, closed, scope, excluded }): CaptureSpec => ({
      ...SPEC,
      outboundScope: scope,
      exclusions: { ports: excluded, cidrs: ["10.0.0.0/8"] },
      inbound: ports.map((port, index) => ({ workload: `w${index}`, port, failClosed: closed[index] ?? true })),
    }),
  );
}

function connections(): fc.Arbitrary<Connection> {
  const addresses = [
    { source: HOST_ADDRESS, destination: "10.0.0.2" },
    { source: HOST_ADDRESS, destination: HOST_ADDRESS },
    { source: "127.0.0.1", destination: "127.0.0.1" },
    { source: "127.0.0.6", destination: HOST_ADDRESS },
    { source: "127.0.0.1", destination: "240.240.1.1" },
    { source: "fd00::1", destination: "fd00::2" },
    { source: "::1", destination: "::1" },
    { source: "::6", destination: "fd00::1" },
    { source: "::1", destination: "2001:2::1" },
  ];
  return fc
    .record({ uid: fc.constantFrom(0, 900, 1001, 1002, 1003), pair: fc.constantFrom(...addresses), port: fc.integer({ min: 1, max: 65_535 }), isToLocal: fc.boolean() })
    .map(({ pair, ...rest }) => ({ ...rest, ...pair }));
}
