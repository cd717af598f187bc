import assert from "node:assert/strict";
import { existsSync, globSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { parse } from "yaml";
import { parseAgentConfig } from "../../../agent/config.ts";
import { parseDocuments } from "../../../api/document.ts";
import { formatIssue } from "../../../base/issue.ts";
import { controlPlaneSchema } from "../../../cli/control-plane/config.ts";

const root = join(import.meta.dirname, "../../..");
const PAGES = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", ...globSync("docs/**/*.md", { cwd: root })];
const pages = PAGES.map((file) => ({ file, text: readFileSync(join(root, file), "utf8") }));

/** YAML of fenced blocks, and what is piped into `apply -f -`. */
function examplesOf(text: string): string[] {
  return [/```yaml\n([\s\S]*?)```/g, /<<'YAML'\n([\s\S]*?)\nYAML/g].flatMap((pattern) => [...text.matchAll(pattern)].map((match) => match[1] ?? ""));
}

/** What is wrong with an example, by what it is an example of; fragments of an agent's file are completed. */
function problemsOf(example: string, file: string): readonly string[] {
  if (/^kind: /m.test(example)) return parseDocuments(example, file, "files").issues.map(formatIssue);
  if (/^(workloads|joinTokenFile):/m.test(example)) {
    const whole = /^controlPlane:/m.test(example) ? example : `controlPlane: {address: control}\n${example}`;
    const parsed = parseAgentConfig(whole, file);
    return parsed.ok ? [] : parsed.error.map(formatIssue);
  }
  const parsed = controlPlaneSchema.safeParse(parse(example));
  return parsed.success ? [] : [parsed.error.message];
}

describe("documentation", () => {
  it("has examples that are accepted without a word", () => {
    const examples = pages.flatMap(({ file, text }) => examplesOf(text).map((example) => ({ file, example })));
    assert.ok(examples.length >= 8, "the examples were not found");
    for (const { file, example } of examples) assert.deepEqual(problemsOf(example, file), [], `${file}:\n${example}`);
  });

  it("links to files that exist", () => {
    const links = pages.flatMap(({ file, text }) => [...text.matchAll(/\]\((?!https?:)([^)#\s]+)[^)]*\)/g)].map((match) => ({ file, target: match[1] ?? "" })));
    assert.ok(links.length > 20, "the links were not found");
    const dead = links.filter(({ file, target }) => !existsSync(join(root, dirname(file), target)));
    assert.deepEqual(dead, []);
  });
});
