import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";

/**
 * Holds a file to what the code renders for it; `npm run golden` (UPDATE_GOLDEN=1)
 * writes it instead.
 */
export function assertRendered(path: string, rendered: string): void {
  if (process.env["UPDATE_GOLDEN"] === "1") {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, rendered);
    return;
  }
  let present: string;
  try {
    present = readFileSync(path, "utf8");
  } catch (cause) {
    throw new Error(`${path} is missing: run npm run golden`, { cause });
  }
  assert.equal(present, rendered, `${path} is not what the code renders: run npm run golden and look at the difference`);
}
