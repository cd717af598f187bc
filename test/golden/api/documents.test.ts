import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import { parseDocuments } from "../../../api/document.ts";
import { renderIssuesReference, renderKindsReference } from "../../../api/reference.ts";
import { formatIssue } from "../../../base/issue.ts";
import { assertRendered } from "../../support/reference-doc.ts";

const folder = import.meta.dirname;

describe("golden: documents that users write", () => {
  for (const file of readdirSync(folder).filter((name) => name.endsWith(".in.yaml")).sort()) {
    it(file.replace(".in.yaml", ""), () => {
      const { resources, issues } = parseDocuments(readFileSync(join(folder, file), "utf8"), file, "files");
      const rendered = stringify({ issues: issues.map(formatIssue), resources }, { lineWidth: 0, aliasDuplicateObjects: false });
      assertRendered(join(folder, file.replace(".in.yaml", ".out.yaml")), rendered);
    });
  }
});

describe("golden: reference documentation", () => {
  const docs = join(folder, "../../../docs/reference");
  it("kinds.md", () => assertRendered(join(docs, "kinds.md"), renderKindsReference()));
  it("issues.md", () => assertRendered(join(docs, "issues.md"), renderIssuesReference()));
});
