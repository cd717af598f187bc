import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { issueCodes } from "../../../api/issue-codes.ts";
import { caErrors } from "../../../ca/errors.ts";
import { configErrors } from "../../../discovery/config/errors.ts";
import { storeErrors } from "../../../store/errors.ts";

const root = join(import.meta.dirname, "../../..");
const page = readFileSync(join(root, "docs/errors.md"), "utf8");
const SHIPPED_ROOMS = "{agent,api,base,ca,cli,discovery,model,store,systemd,xds}";
const TABLES: Readonly<Record<string, string>> = { ...caErrors, ...configErrors, ...storeErrors };

/** A value of Istio's ServiceEntry. Its MESH_INTERNAL is a code of ours too. */
const NOT_CODES = ["MESH_EXTERNAL"];

function found(text: string, pattern: RegExp): string[] {
  return [...new Set([...text.matchAll(pattern)].map((match) => match[1] ?? ""))].sort();
}

describe("docs/errors.md", () => {
  const source = globSync(`${SHIPPED_ROOMS}/**/*.ts`, { cwd: root }).map((file) => readFileSync(join(root, file), "utf8")).join("\n");

  it("has every MESH_ code of the source, and no other", () => {
    const quoted = found(source, /["'`](MESH_[A-Z0-9_]*[A-Z0-9])["'`]/g).filter((code) => !NOT_CODES.includes(code));
    const used = [...new Set([...quoted, ...Object.keys(TABLES)])].sort();
    assert.ok(used.length > 40, "the source was not found");
    assert.deepEqual(found(page, /^\| `(MESH_[A-Z0-9_]+)` \|/gm), used);
  });

  it("says what the tables of coded errors say", () => {
    for (const [code, meaning] of Object.entries(TABLES)) assert.ok(page.includes(`\n| \`${code}\` | ${meaning} |\n`), `${code} is described otherwise`);
  });

  it("has every IM code that reference/issues.md has not, and no other", () => {
    const used = found(source, /["'`](IM\d{4})["'`]/g).filter((code) => !Object.hasOwn(issueCodes, code));
    assert.ok(used.length > 10, "the source was not found");
    assert.deepEqual(found(page, /^\| (IM\d{4}) \|/gm), used);
  });

  it("describes each code once", () => {
    const rows = [...page.matchAll(/^\| `?((?:MESH_|IM\d)[A-Z0-9_]*)`? \|/gm)].map((match) => match[1]);
    assert.deepEqual(rows, [...new Set(rows)]);
  });
});
