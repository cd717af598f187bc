import assert from "node:assert/strict";
import { create, toBinary } from "@bufbuild/protobuf";
import type { EnvoyRejection } from "../../../discovery/report-rpc.ts";
import { reportHandler } from "../../../discovery/report-rpc.ts";
import { ReportRequestSchema } from "../../../proto/gen/ironmesh/agent/v1/agent_pb.js";
import { type Mesh, startMesh } from "../../support/push-mesh.ts";

describe("text in reports of hosts", () => {
  let mesh: Mesh;
  beforeEach(async () => {
    mesh = await startMesh();
  });
  afterEach(() => mesh.close());

  it("is taken without what a terminal would obey", async () => {
    let rejections: readonly EnvoyRejection[] = [];
    const { handle } = reportHandler({ hosts: mesh.hosts, hostIdOf: () => Promise.resolve("h1"), onRejections: (_, now) => (rejections = now) });
    const request = create(ReportRequestSchema, {
      hostName: "vm-1\u001b[2J\u009b8m",
      workloads: [{ name: "web\n\u001b[8m", group: "default/web", addresses: ["10.0.0.1\u007f"], healthDetail: "\u0007 grün" }],
      facts: { os: "\u001b]0;owned\u0007" },
      rejections: [{ typeUrl: "t", name: "n\n", message: "line 1\nline 2\u001b[8m" }],
    });
    const peer = { remoteAddress: undefined, peerCertificate: () => undefined, ping: () => Promise.resolve(true) };
    await handle(toBinary(ReportRequestSchema, request), { path: "", metadata: {}, peer, signal: new AbortController().signal });
    const report = mesh.hosts.hosts.get("h1")?.report;
    assert.deepEqual([report?.hostName, report?.facts.os], ["vm-1?[2J?8m", "?]0;owned?"]);
    const [workload] = report?.workloads ?? [];
    assert.deepEqual([workload?.name, workload?.addresses, workload?.healthDetail], ["web??[8m", ["10.0.0.1?"], "? grün"]);
    assert.deepEqual(rejections, [{ typeUrl: "t", name: "n?", message: "line 1\nline 2?[8m" }]);
  });
});
