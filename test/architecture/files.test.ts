import assert from "node:assert/strict";
import { basename } from "node:path";
import { describe, it } from "mocha";
import { MAX_LINES, NAMES_WITH_REASON } from "../../architecture.ts";
import { judgeFile } from "./judge-file.ts";
import { parseSourceFile, readSourceFiles } from "./source-file.ts";

function judged(path: string, text: string): string {
  return judgeFile(parseSourceFile(path, text)).join("\n");
}

describe("shape of files", () => {
  it("is kept by every file", () => {
    assert.deepEqual(readSourceFiles().flatMap(judgeFile), []);
  });

  it("has no exception for a file that is gone", () => {
    const names = new Set(readSourceFiles().map(({ path }) => basename(path).replace(/(?:\.test)?\.ts$/, "")));
    assert.deepEqual(Object.keys(NAMES_WITH_REASON).filter((name) => !names.has(name)), []);
  });

  it("limits the lines", () => {
    assert.equal(judged("base/x.ts", "export const a = 1;\n".repeat(1) + "\n".repeat(MAX_LINES - 1)), "");
    assert.match(judged("base/x.ts", "\n".repeat(MAX_LINES + 1)), /lines, at most/);
  });

  const forbidden: Readonly<Record<string, readonly [path: string, text: string, words: RegExp]>> = {
    "a default export": ["base/x.ts", "export default 1;", /export default/],
    "a default export by name": ["base/x.ts", "const a = 1; export { a as default };", /export default/],
    "a re-export of everything": ["base/x.ts", 'export * from "./a.ts"; export const b = 1;', /barrel/],
    "a file of re-exports": ["base/x.ts", 'export { a } from "./a.ts"; export type { B } from "./b.ts";', /barrel/],
    "it.only": ["test/unit/x.test.ts", 'it.only("x", () => {});', /silences/],
    "describe.skip": ["test/unit/x.test.ts", 'describe.skip("x", () => {});', /silences/],
    xit: ["test/unit/x.test.ts", 'xit("x", () => {});', /silences/],
    "an empty word": ["base/string-utils.ts", "export const a = 1;", /names no content/],
    "an empty folder name": ["agent/common/x.ts", "export const a = 1;", /names no content/],
    "an index file": ["agent/dns/index.ts", "export const a = 1;", /index says nothing/],
    "camel case": ["base/taskGroup.ts", "export const a = 1;", /kebab-case/],
  };

  for (const [what, [path, text, words]] of Object.entries(forbidden)) {
    it(`catches ${what}`, () => assert.match(judged(path, text), words));
  }

  it("lets through a declaration of somebody else's default export, and an index that is a data structure", () => {
    assert.equal(judged("base/x.d.ts", "declare const a: number; export default a;"), "");
    assert.equal(judged("discovery/host-index.ts", "export const a = 1;"), "");
  });

  it("lets through a re-export beside a file's own content", () => {
    assert.equal(judged("base/x.ts", 'export type { A } from "./a.ts"; export const b = 1;'), "");
  });
});
