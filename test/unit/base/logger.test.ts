import assert from "node:assert/strict";
import { Writable } from "node:stream";
import { pino } from "pino";
import { type Logger, silentLogger } from "../../../base/logger.ts";

describe("logger", () => {
  it("is satisfied by pino, children and fields included", () => {
    const lines: string[] = [];
    const sink = new Writable({
      write(chunk: Buffer, _encoding, done) {
        lines.push(chunk.toString());
        done();
      },
    });
    const logger: Logger = pino({ base: null, timestamp: false }, sink);
    logger.child({ host: "h1" }).warn({ attempt: 2 }, "still away");
    assert.deepEqual(lines.map((line) => JSON.parse(line)), [{ level: 40, host: "h1", attempt: 2, msg: "still away" }]);
  });

  it("can be silent, children included", () => {
    const child = silentLogger.child({ host: "h1" });
    assert.equal(child, silentLogger);
    assert.doesNotThrow(() => child.error({ err: new Error("x") }, "unheard"));
  });
});
