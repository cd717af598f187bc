import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "mocha";

interface Unfinished {
  readonly begin: (folder: string) => boolean;
  readonly finish: (folder: string) => void;
  readonly isUnfinished: (folder: string) => boolean;
}

const { begin, finish, isUnfinished } = createRequire(import.meta.url)("../../../setup/unfinished.cjs") as Unfinished;

describe("a folder that a program fills", () => {
  it("keeps its files when that succeeded, and starts empty when it was cut short", () => {
    const parent = mkdtempSync(join(tmpdir(), "ironmesh-setup-"));
    try {
      const folder = join(parent, "node_modules");
      const file = join(folder, "package");
      assert.equal(isUnfinished(folder), false);
      assert.equal(begin(folder), false);
      assert.equal(isUnfinished(folder), true);
      writeFileSync(file, "whole");
      finish(folder);
      assert.equal(isUnfinished(folder), false);

      assert.equal(begin(folder), false);
      assert.equal(existsSync(file), true);
      writeFileSync(file, "ha");
      assert.equal(begin(folder), true);
      assert.equal(existsSync(file), false);
      assert.equal(isUnfinished(folder), true);
    } finally {
      rmSync(parent, { recursive: true });
    }
  });
});
