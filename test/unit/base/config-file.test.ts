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
const file = {
  schema,
  reference: "docs/x.md",
  conflicts: ({ name, items }: z.infer<typeof schema>) => (items.some(({ uid }) => String(uid) === name) ? [[["items", 0], "is named like the file", "name it otherwise"] as const] : []),
};

function issuesOf(text: string): string[] {
  const result = parseConfigFile(file, text, "a.yaml");
  return result.ok ? [] : result.error.map(formatIssue);
}

describe("parseConfigFile", () => {
  it("gives the value with its defaults", () => {
    assert.deepEqual(parseConfigFile(file, "name: x", "a.yaml"), {
      ok: true,
      value: { name: "x", listen: { port: 80 }, items: [] },
    });
  });

  it("places an unknown field at its key and a wrong value at its field", () => {
    const issues = issuesOf("name: x\nlisten:\n  port: eighty\nitems:\n  - uid: 1\n    gid: 2\n");
    assert.equal(issues.length, 2);
    assert.match(issues[0] ?? "", /^a\.yaml:3:3: error IM0003 listen\.port: .*expected number/);
    assert.match(issues[1] ?? "", /^a\.yaml:6:5: error IM0002 items\[0\]\.gid: unknown field \(did you mean uid\?\)/);
  });

  it("places a missing field at what should hold it", () => {
    assert.match(issuesOf("listen:\n  port: 1\n")[0] ?? "", /^a\.yaml:1:1: error IM0003 name: is missing/);
  });

  it("places what no single field shows where it is said to be", () => {
    assert.deepEqual(issuesOf("name: '7'\nitems:\n  - uid: 7\n"), ["a.yaml:3:5: error IM0004 items[0]: is named like the file (name it otherwise)"]);
  });

  it("reports what is no YAML, and an empty file as what it lacks", () => {
    assert.match(issuesOf("name: [x")[0] ?? "", /^a\.yaml:1:\d+: error IM0001 /);
    assert.match(issuesOf("")[0] ?? "", /error IM0003 name: is missing/);
    assert.match(issuesOf("name: x\nname: y")[0] ?? "", /^a\.yaml:2:1: error IM0001 .*unique/);
  });
});
