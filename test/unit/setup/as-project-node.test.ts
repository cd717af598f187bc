import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "mocha";

const root = join(import.meta.dirname, "..", "..", "..");

describe("npm of the machine", () => {
  it("judges packages by the Node that comes with the project", () => {
    const { optionalDependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { readonly optionalDependencies: Readonly<Record<string, string>> };
    const preload = join(root, "setup", "as-project-node.cjs");
    const seen = execFileSync(process.execPath, ["-p", "process.version"], { encoding: "utf8", env: { ...process.env, NODE_OPTIONS: `--require "${preload}"` } });
    assert.equal(seen.trim(), `v${optionalDependencies[`node-linux-${process.arch}`]}`);
  });
});
