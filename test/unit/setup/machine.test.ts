import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { describe, it } from "mocha";

interface Machine {
  readonly notRoot: (npm: string) => string;
}

const { notRoot } = createRequire(import.meta.url)("../../../setup/machine.cjs") as Machine;

describe("who is not root", () => {
  it("is told to be, and that npm 7 and 8 take the owner of the clone instead", () => {
    assert.match(notRoot("npm/9.2.0 node/v18.20.4 linux x64 workspaces/false"), /\(run the same command with sudo, or as root\)$/);
    assert.match(notRoot(""), /\(run the same command with sudo, or as root\)$/);
    assert.match(notRoot("npm/8.19.4 node/v16.20.2 linux x64 workspaces/false"), /chown -R root: \./);
    assert.match(notRoot("npm/7.24.2 node/v16.9.0 linux x64 workspaces/false"), /chown -R root: \./);
  });
});
