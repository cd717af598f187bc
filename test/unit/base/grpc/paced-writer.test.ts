import assert from "node:assert/strict";
import { Writable } from "node:stream";
import { createPacedWriter } from "../../../../base/grpc/paced-writer.ts";

/** A stream that takes a piece only when told. */
function handCranked(): { stream: Writable; pieces: Buffer[]; take: () => boolean } {
  const pieces: Buffer[] = [];
  const waiting: (() => void)[] = [];
  const stream = new Writable({
    highWaterMark: 1,
    write(chunk: Buffer, _encoding, done) {
      pieces.push(Buffer.from(chunk));
      waiting.push(done);
    },
  });
  return {
    stream,
    pieces,
    take() {
      const done = waiting.shift();
      done?.();
      return done !== undefined;
    },
  };
}

describe("paced writer", () => {
  it("has one piece of at most 32 KiB under way, and loses and reorders nothing", async () => {
    const { stream, pieces, take } = handCranked();
    const writer = createPacedWriter(stream, 1 << 20);
    const parts = [5, 40_000, 100, 9000, 1, 70_000, 31_000].map((size, index) => Buffer.alloc(size, index + 1));
    const done = writer.write(parts);
    const second = writer.write(Buffer.from("tail"));
    assert.equal(pieces.length, 1, "the rest waits");
    while (take()) await new Promise(setImmediate);
    await Promise.all([done, second]);
    assert.ok(pieces.every((piece) => piece.length <= 32 * 1024));
    const sent = Buffer.concat(pieces);
    const body = Buffer.concat(parts);
    assert.equal(sent.readUInt32BE(1), body.length);
    assert.ok(sent.subarray(5, 5 + body.length).equals(body));
    assert.equal(sent.subarray(5 + body.length + 5).toString(), "tail");
  });

  it("refuses what does not fit behind a queued message", async () => {
    const { stream } = handCranked();
    const writer = createPacedWriter(stream, 100);
    const first = writer.write(Buffer.alloc(50_000));
    await assert.rejects(writer.write(Buffer.alloc(100)), { status: "RESOURCE_EXHAUSTED" });
    writer.fail(new Error("over"));
    await assert.rejects(first, /over/u);
    await assert.rejects(writer.write(Buffer.alloc(1)), /over/u);
  });
});
