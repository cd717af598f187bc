import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { renderConfigReference } from "../../../agent/config-reference.ts";

const page = join(import.meta.dirname, "../../../docs/reference/agent-config.md");

describe("docs/reference/agent-config.md", () => {
  it("says what the schema says (UPDATE_GOLDEN=1 rewrites it)", () => {
    if (process.env["UPDATE_GOLDEN"] === "1") writeFileSync(page, renderConfigReference());
    assert.equal(readFileSync(page, "utf8"), renderConfigReference());
  });
});
