import assert from "node:assert/strict";
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import type { ServerCall } from "../../../base/grpc/call.ts";
import type { AgentsRegistry } from "../../../discovery/registry/agents/registry.ts";
import { reportHandler } from "../../../discovery/report-rpc.ts";
import { ReportRequestSchema } from "../../../proto/gen/ironmesh/agent/v1/agent_pb.js";

type Report = MessageInitShape<typeof ReportRequestSchema>;

describe("reports of hosts", () => {
  const taken: string[] = [];
  const hosts = { report: (hostId: string) => (taken.push(hostId), []) } as unknown as AgentsRegistry;
  const handler = reportHandler({ hosts, hostIdOf: () => Promise.resolve("host-1"), onRejections: () => {} });
  const send = (report: Report): unknown => handler.handle(toBinary(ReportRequestSchema, create(ReportRequestSchema, report)), { peer: {} } as ServerCall);

  beforeEach(() => void (taken.length = 0));

  it("are taken from the host that the certificate names", async () => {
    await send({ hostName: "vm-1", workloads: [{ name: "web", group: "shop/web", addresses: ["10.0.0.1"] }] });
    assert.deepEqual(taken, ["host-1"]);
  });

  const many = (count: number): string[] => Array.from({ length: count }, (_, at) => `10.1.${at >> 8}.${at & 255}`);
  const oversized: Readonly<Record<string, Report>> = {
    "257 workloads": { workloads: many(257).map((name) => ({ name })) },
    "17 addresses of one workload": { workloads: [{ name: "web", addresses: many(17) }] },
    "65 ports of one workload": { workloads: [{ name: "web", ports: Object.fromEntries(many(65).map((name) => [name, 80])) }] },
    "65 addresses of one host": { facts: { addresses: many(65) } },
  };
  for (const [what, report] of Object.entries(oversized)) {
    it(`are refused whole with ${what}`, async () => {
      await assert.rejects(async () => send(report), { message: new RegExp(`^${what}`) });
      assert.deepEqual(taken, []);
    });
  }

  it("are refused where they cannot be decoded", async () => {
    await assert.rejects(async () => handler.handle(Uint8Array.of(255, 255), { peer: {} } as ServerCall), /cannot be decoded/);
  });
});
