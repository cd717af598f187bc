import assert from "node:assert/strict";
import { describe, it } from "mocha";
import { FENCES, ROOMS } from "../../architecture.ts";
import { judgeImports } from "./judge-imports.ts";
import { parseSourceFile, readSourceFiles } from "./source-file.ts";

/** The law's words about a file that exists only here. */
function judged(path: string, text: string): string {
  return judgeImports(parseSourceFile(path, text)).join("\n");
}

describe("import law", () => {
  it("holds for every file", () => {
    const files = readSourceFiles();
    assert.ok(files.length > 100, `only ${files.length} files found: the test looks at the wrong place`);
    assert.deepEqual(files.flatMap(judgeImports), []);
  });

  it("names rooms that exist in the table, and each package once", () => {
    const names = ROOMS.map((room) => room.name);
    for (const { name, mayImport } of ROOMS) {
      if (mayImport === "all") continue;
      assert.deepEqual(mayImport.filter((each) => !names.includes(each)), [], name);
    }
    const fenced = FENCES.map((fence) => fence.package);
    assert.deepEqual(fenced, [...new Set(fenced)].sort());
  });

  const forbidden: Readonly<Record<string, readonly [path: string, text: string, words: RegExp]>> = {
    "another room": ["model/x.ts", 'import { a } from "../discovery/a.ts";', /model may import base/],
    "another room's types": ["base/x.ts", 'import type { A } from "../model/a.ts";', /base may import nothing/],
    "a type in place": ["base/x.ts", 'export type A = import("../model/a.ts").A;', /base may import nothing/],
    "a re-export": ["base/x.ts", 'export { a } from "../model/a.ts"; export const b = 1;', /base may import nothing/],
    "an import for effect": ["xds/x.ts", 'import "../model/a.ts";', /xds may import base, proto/],
    "a dynamic import": ["agent/x.ts", 'export const a = await import("../ca/a.ts");', /agent may import/],
    "a computed import": ["agent/x.ts", "export const a = (name: string) => import(name);", /computed/],
    "a require": ["agent/x.ts", 'declare function require(name: string): unknown; require("../ca/a.ts");', /agent may import/],
    "tests in the product": ["cli/x.ts", 'import { a } from "../test/support/a.ts";', /cli may import/],
    "another registry": ["discovery/registry/consul/x.ts", 'import { a } from "../static/a.ts";', /alternatives/],
    "a fenced package": ["discovery/catalog/x.ts", 'import Consul from "consul";', /one registry among several/],
    "a fenced package's folder": ["discovery/x.ts", 'import { V } from "@kubernetes-models/istio/networking.istio.io/v1";', /Istio's schemas/],
    "a fenced Node module": ["agent/app.ts", 'import { spawn } from "node:child_process";', /really executed/],
    "a Node module by its old name": ["agent/app.ts", 'import { spawn } from "child_process";', /node:/],
    "an unknown package": ["agent/app.ts", 'import _ from "lodash";', /no fence/],
    "an unknown room": ["shared/x.ts", "export const a = 1;", /no room/],
    "a place outside": ["base/x.ts", 'import { a } from "../../elsewhere/a.ts";', /outside/],
  };

  for (const [what, [path, text, words]] of Object.entries(forbidden)) {
    it(`catches ${what}`, () => assert.match(judged(path, text), words));
  }

  it("lets through what is allowed", () => {
    assert.equal(judged("discovery/registry/consul/x.ts", 'import Consul from "consul"; import { a } from "../registry.ts"; import { b } from "../../../base/b.ts";'), "");
    assert.equal(judged("test/unit/x.test.ts", 'import { spawn } from "node:child_process"; import { a } from "../../agent/a.ts";'), "");
  });

  it("says where", () => {
    assert.match(judged("base/x.ts", 'export const one = 1;\nimport { a } from "../model/a.ts";\n'), /^base\/x\.ts:2: /);
  });
});
