import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "mocha";
import { parseSync, Visitor } from "oxc-parser";

const PREPARE = join(import.meta.dirname, "..", "..", "..", "setup", "prepare.cjs");

/** What Node 12 cannot parse, by what is in `source`; it would print a syntax error instead of what it should say. */
function newerThanNode12(source: string): string[] {
  const { program, errors } = parseSync("prepare.cjs", source, { sourceType: "script" });
  assert.deepEqual(errors, []);
  const found: string[] = [];
  new Visitor({
    ChainExpression: () => void found.push("?."),
    LogicalExpression: ({ operator }) => void (operator === "??" && found.push(operator)),
    AssignmentExpression: ({ operator }) => void (["??=", "||=", "&&="].includes(operator) && found.push(operator)),
    PropertyDefinition: () => void found.push("class field"),
    StaticBlock: () => void found.push("static block"),
    PrivateIdentifier: () => void found.push("#private"),
    Literal: ({ raw }) => void (/^\d[\d.]*_/.test(raw ?? "") && found.push("1_000")),
  }).visit(program);
  return found.toSorted();
}

describe("the set-up on a Node that is too old", () => {
  const source = readFileSync(PREPARE, "utf8");

  it("can be parsed by it", () => {
    assert.deepEqual(newerThanNode12(source), []);
    assert.deepEqual(newerThanNode12("a?.b ?? (c ||= 1_000)"), ["1_000", "?.", "??", "||="]);
  });

  it("says so before it asks for anything that is not there", () => {
    const check = source.indexOf("process.exit(1)");
    assert.ok(check > 0 && check < source.indexOf("require("), "the version is checked before the first require");
  });
});
