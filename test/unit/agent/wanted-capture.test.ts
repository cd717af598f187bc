import assert from "node:assert/strict";
import { create } from "@bufbuild/protobuf";
import { parseAgentConfig } from "../../../agent/config.ts";
import { wantedCapture } from "../../../agent/wanted-capture.ts";
import type { WantedRules } from "../../../agent/capture-control.ts";
import type { EnvoyRejection } from "../../../agent/stand-ins.ts";
import { HostConfigSchema } from "../../../proto/gen/ironmesh/agent/v1/agent_pb.js";
import { TYPE_URLS } from "../../../xds/type-urls.ts";

describe("when there is something to capture for", () => {
  const config = parseAgentConfig('controlPlane: {address: "192.0.2.1"}\nworkloads: [{group: shop/web, bind: {uid: 1001}}, {group: shop/db, bind: {uid: 1002}}]\n', "agent.yaml");
  assert.ok(config.ok, JSON.stringify(config));
  const hostConfig = create(HostConfigSchema, {
    workloads: [
      { name: "web", ports: [{ port: 8080, failClosed: true }, { port: 8081, failClosed: false }] },
      { name: "db", ports: [] },
    ],
  });
  const wanted = (listening: readonly number[], rejections: readonly EnvoyRejection[]): Promise<WantedRules | undefined> =>
    wantedCapture({
      config: config.value,
      relay: { hostConfig: () => hostConfig, isEnvoyInSync: () => true, rejections: () => rejections },
      envoy: { listenerPorts: () => Promise.resolve(new Set(listening)) },
      outboundPorts: { web: 15_100, db: 15_101 },
      proxyUser: { uid: 900, gid: 900 },
      dnsPort: 15_053,
      managementPorts: [15_020],
      follow: () => undefined,
    });
  const refused = (typeUrl: string): EnvoyRejection => ({ typeUrl, name: "it", version: "1", message: "no" });
  const shown = (rules: WantedRules | undefined): unknown => rules && [rules.spec.inbound.map(({ port }) => port), rules.spec.outbound.map(({ workload }) => workload), rules.uncaptured];

  it("waits for every listener", async () => {
    assert.equal(await wanted([15_006, 15_100], []), undefined);
    assert.deepEqual(shown(await wanted([15_006, 15_100, 15_101], [])), [[8080, 8081], ["web", "db"], []]);
  });

  it("does not wait for what Envoy refuses while it serves an earlier version, or of another type", async () => {
    assert.deepEqual(shown(await wanted([15_006, 15_100, 15_101], [refused(TYPE_URLS.listener), refused(TYPE_URLS.cluster)])), [[8080, 8081], ["web", "db"], []]);
    assert.equal(await wanted([15_006, 15_100], [refused(TYPE_URLS.cluster)]), undefined);
  });

  it("leaves out, loudly, what a refused listener would have taken; what fails closed is closed", async () => {
    assert.deepEqual(shown(await wanted([15_006, 15_100], [refused(TYPE_URLS.listener)])), [[8080, 8081], ["web"], ["what db opens: envoy has no listener for it"]]);
    assert.deepEqual(shown(await wanted([15_100, 15_101], [refused(TYPE_URLS.listener)])), [
      [8080],
      ["web", "db"],
      ["port 8080 of web: envoy has no listener for it; it is closed", "port 8081 of web: envoy has no listener for it"],
    ]);
  });
});
