import assert from "node:assert/strict";
import { describe, it } from "mocha";
import { findCycles } from "./find-cycles.ts";
import { parseSourceFile, readSourceFiles } from "./source-file.ts";

function cyclesOf(imports: Readonly<Record<string, readonly string[]>>): readonly (readonly string[])[] {
  return findCycles(
    Object.entries(imports).map(([path, targets]) =>
      parseSourceFile(path, targets.map((target) => `import type { A } from "${target}";`).join("\n")),
    ),
  );
}

describe("import cycles", () => {
  it("do not exist", () => {
    assert.deepEqual(findCycles(readSourceFiles()), []);
  });

  it("are found, through types and folders too", () => {
    const files = {
      "base/a.ts": ["./b.ts", "./leaf.ts"],
      "base/b.ts": ["./deep/c.ts"],
      "base/deep/c.ts": ["../a.ts", "../leaf.ts"],
      "base/leaf.ts": [],
    };
    assert.deepEqual(cyclesOf(files), [["base/a.ts", "base/b.ts", "base/deep/c.ts"]]);
  });

  it("are not seen where two ways lead to one file", () => {
    assert.deepEqual(cyclesOf({ "base/a.ts": ["./b.ts", "./c.ts"], "base/b.ts": ["./d.ts"], "base/c.ts": ["./d.ts", "./b.ts"], "base/d.ts": [] }), []);
  });
});
