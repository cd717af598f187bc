import assert from "node:assert/strict";
import { describe, it } from "mocha";
import { z } from "zod";
import { parseConfigFile } from "../../../base/config-file.ts";
import { formatIssue } from "../../../base/issue.ts";

const schema = z.strictObject({
  name: z.string(),
  listen: z.strictObject({ port: z.number().int() }).default({ port: 80 }),
  items: z.array(z.strictObject({ uid: z.number() })).default([]),
});
const codes = { syntax: "T1", field: "T2" };

function issuesOf(text: string): string[] {
  const result = parseConfigFile(schema, text, "a.yaml", codes);
  return result.ok ? [] : result.error.map(formatIssue);
}

describe("parseConfigFile", () => {
  it("gives the value with its defaults", () => {
    assert.deepEqual(parseConfigFile(schema, "name: x", "a.yaml", codes), {
      ok: true,
      value: { name: "x", listen: { port: 80 }, items: [] },
    });
  });

  it("places an unknown field at its key and a wrong value at its field", () => {
    const issues = issuesOf("name: x\nlisten:\n  port: eighty\nitems:\n  - uid: 1\n    gid: 2\n");
    assert.equal(issues.length, 2);
    assert.match(issues[0] ?? "", /^a\.yaml:3:3: error T2 listen\.port: .*expected number/);
    assert.match(issues[1] ?? "", /^a\.yaml:6:5: error T2 items\[0\]\.gid: unknown field/);
  });

  it("places a missing field at what should hold it", () => {
    assert.match(issuesOf("listen:\n  port: 1\n")[0] ?? "", /^a\.yaml:1:1: error T2 name:/);
  });

  it("reports what is no YAML, and an empty file as what it lacks", () => {
    assert.match(issuesOf("name: [x")[0] ?? "", /^a\.yaml:1:\d+: error T1 /);
    assert.match(issuesOf("")[0] ?? "", /error T2 name:/);
    assert.match(issuesOf("name: x\nname: y")[0] ?? "", /^a\.yaml:2:1: error T1 .*unique/);
  });
});
