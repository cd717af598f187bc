import assert from "node:assert/strict";
import * as fc from "fast-check";
import { createDeframer, frameHeader } from "../../../../base/grpc/deframer.ts";
import { GrpcError } from "../../../../base/grpc/status.ts";

function statusOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    return error instanceof GrpcError ? error.status : String(error);
  }
  return "OK";
}

describe("deframer", () => {
  it("gives back the messages however the bytes are cut", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 50 })), fc.array(fc.integer({ min: 1, max: 20 })), (messages, cuts) => {
        const bytes = Buffer.concat(messages.flatMap((message) => [frameHeader(message.length), message]));
        const deframer = createDeframer({ maxMessageBytes: 50 });
        const seen: Uint8Array[] = [];
        for (let at = 0, cut = 0; at < bytes.length; cut += 1) {
          const size = cuts[cut % Math.max(1, cuts.length)] ?? 7;
          seen.push(...deframer.push(bytes.subarray(at, at + size)));
          at += size;
        }
        deframer.end();
        assert.deepEqual(seen.map((message) => [...message]), messages.map((message) => [...message]));
      }),
    );
  });

  it("refuses a message over the limit by its header alone", () => {
    const deframer = createDeframer({ maxMessageBytes: 10 });
    assert.equal(statusOf(() => deframer.push(Buffer.from(frameHeader(11)))), "RESOURCE_EXHAUSTED");
  });

  it("refuses compressed messages: as unsupported where an encoding is named, as broken where none is", () => {
    const compressed = Buffer.from([1, 0, 0, 0, 0]);
    assert.equal(statusOf(() => createDeframer({ maxMessageBytes: 9, encoding: "gzip" }).push(compressed)), "UNIMPLEMENTED");
    assert.equal(statusOf(() => createDeframer({ maxMessageBytes: 9 }).push(compressed)), "INTERNAL");
  });

  it("reports a stream that ends within a message", () => {
    const deframer = createDeframer({ maxMessageBytes: 10 });
    deframer.push(Buffer.from([0, 0]));
    assert.equal(statusOf(() => deframer.end()), "INTERNAL");
  });
});
