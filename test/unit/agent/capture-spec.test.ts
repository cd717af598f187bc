import assert from "node:assert/strict";
import { create } from "@bufbuild/protobuf";
import { buildCaptureSpec } from "../../../agent/capture-spec.ts";
import type { PossibleCapture } from "../../../agent/capture-spec.ts";
import { parseAgentConfig } from "../../../agent/config.ts";
import { planCapture } from "../../../agent/interception/plan.ts";
import { HostConfigSchema } from "../../../proto/gen/ironmesh/agent/v1/agent_pb.js";

describe("what an agent captures", () => {
  const config = parseAgentConfig('controlPlane: {address: "192.0.2.1"}\nworkloads: [{group: shop/bastion, bind: {uid: 1001}}]\n', "agent.yaml");
  assert.ok(config.ok, JSON.stringify(config));

  const build = (ports: readonly { readonly port: number; readonly failClosed: boolean }[]): PossibleCapture =>
    buildCaptureSpec({
      config: config.value,
      hostConfig: create(HostConfigSchema, { workloads: [{ name: "bastion", ports: [...ports] }] }),
      proxyUid: 900,
      agentUid: 0,
      outboundPorts: { bastion: 15_100 },
      matches: new Map([["bastion", { uids: [1001] }]]),
      dnsPort: 15_053,
      managementPorts: [15_020, 15_021],
    });

  it("never holds SSH, and keeps the other ports of a group that declares it", () => {
    const { spec, uncaptured } = build([{ port: 22, failClosed: true }, { port: 8080, failClosed: true }]);
    assert.deepEqual(uncaptured, []);
    assert.deepEqual(spec.inbound, [{ workload: "bastion", port: 8080, failClosed: true }]);
    assert.ok(planCapture(spec).ok);
  });

  it("leaves out, with its reason, a port that cannot be captured, and closes the others", () => {
    const { spec, uncaptured } = build([15_020, 15_006, 0, 15_100, 8080].map((port) => ({ port, failClosed: true })));
    assert.deepEqual(spec.inbound, [{ workload: "bastion", port: 8080, failClosed: true }]);
    const plan = planCapture(spec);
    assert.ok(plan.ok);
    assert.match(JSON.stringify(plan.value.guard.guard_input), /8080/);
    assert.deepEqual(uncaptured.map((line) => line.replace(/:.*/, "")), [15_020, 15_006, 0, 15_100].map((port) => `port ${port} of bastion`));
    assert.match(uncaptured[0] ?? "", /15020 is a management port of this host/);
  });

  it("keeps the closed one of two claims to a port", () => {
    const { spec, uncaptured } = build([{ port: 8080, failClosed: false }, { port: 8080, failClosed: true }]);
    assert.deepEqual(spec.inbound, [{ workload: "bastion", port: 8080, failClosed: true }]);
    assert.equal(uncaptured.length, 1);
  });
});
