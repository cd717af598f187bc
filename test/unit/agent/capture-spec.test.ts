import assert from "node:assert/strict";
import { create } from "@bufbuild/protobuf";
import { buildCaptureSpec } from "../../../agent/capture-spec.ts";
import { parseAgentConfig } from "../../../agent/config.ts";
import { planCapture } from "../../../agent/interception/plan.ts";
import { HostConfigSchema } from "../../../proto/gen/ironmesh/agent/v1/agent_pb.js";

describe("what an agent captures", () => {
  const config = parseAgentConfig('controlPlane: {address: "192.0.2.1"}\nworkloads: [{group: shop/bastion, bind: {uid: 1001}}]\n', "agent.yaml");
  assert.ok(config.ok, JSON.stringify(config));

  it("never holds SSH, and keeps the other ports of a group that declares it", () => {
    const hostConfig = create(HostConfigSchema, { workloads: [{ name: "bastion", ports: [{ port: 22, failClosed: true }, { port: 8080, failClosed: true }] }] });
    const spec = buildCaptureSpec({
      config: config.value,
      hostConfig,
      proxyUid: 900,
      agentUid: 0,
      outboundPorts: { bastion: 15_100 },
      matches: new Map([["bastion", { uids: [1001] }]]),
      dnsPort: 15_053,
      managementPorts: [],
    });
    assert.deepEqual(spec.inbound, [{ workload: "bastion", port: 8080, failClosed: true }]);
    assert.ok(planCapture(spec).ok);
  });
});
