import assert from "node:assert/strict";
import { silentLogger } from "../../../base/logger.ts";
import { buildProgram } from "../../../cli/program.ts";

describe("ironmesh host revoke", () => {
  for (const [word, told] of [
    ["host-abc", "host-abc revoked"],
    ["vm1", "host-abc revoked, which calls itself vm1"],
  ] as const) {
    it(`tells the id that was revoked, asked for ${word}`, async () => {
      const printed: string[] = [];
      const program = buildProgram({
        api: () => ({ get: async () => assert.fail("nothing is read"), send: async () => ({ status: 200, body: { revoked: "host-abc" } }) }),
        print: (text) => void printed.push(text),
        complain: (text) => assert.fail(text),
        readInput: async () => "",
        setExitCode: () => {},
        logger: () => silentLogger,
      });
      await program.exitOverride().parseAsync(["host", "revoke", word], { from: "user" });
      assert.deepEqual(printed, [told]);
    });
  }
});
