import assert from "node:assert/strict";
import { assignOutboundPorts } from "../../../agent/outbound-ports.ts";

const RANGE = [15_100, 15_107] as const;

describe("outbound ports", () => {
  it("stay with the workloads that have them, and others get what is left of the first half of the range", () => {
    const first = assignOutboundPorts(["web", "api"], {}, RANGE);
    assert.deepEqual(first, { web: 15_100, api: 15_101 });
    assert.deepEqual(assignOutboundPorts(["db", "api"], first, RANGE), { db: 15_100, api: 15_101 });
    assert.deepEqual(assignOutboundPorts(["web"], { web: 15_106 }, RANGE), { web: 15_100 }, "one of the second half");
    assert.deepEqual(assignOutboundPorts(["a", "b"], { a: 15_103, b: 15_103 }, RANGE), { a: 15_103, b: 15_100 }, "one that two had");
    assert.throws(() => assignOutboundPorts(["a", "b", "c", "d", "e"], {}, RANGE), /no port is left for the workload e/);
  });

  it("are numbers also for a workload that is called as something that every object has", () => {
    assert.deepEqual(assignOutboundPorts(["constructor", "web"], {}, RANGE), { constructor: 15_100, web: 15_101 });
  });
});
