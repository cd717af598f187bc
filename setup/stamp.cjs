/** Remembers beside a result which inputs it was made of. */
"use strict";

const { createHash } = require("node:crypto");
const { readFileSync, renameSync, writeFileSync } = require("node:fs");

/** The hash of these texts or files' bytes, in this order. */
function hashOf(parts) {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(String(part.length)).update(":").update(part);
  return hash.digest("hex");
}

/** The file's bytes, or undefined where there is none. */
function readIfThere(path) {
  try {
    return readFileSync(path);
  } catch (error) {
    if (error.code === "ENOENT") return undefined;
    throw error;
  }
}

function isStamped(path, value) {
  const found = readIfThere(path);
  return found !== undefined && found.toString() === value;
}

function stamp(path, value) {
  writeFileSync(`${path}.new`, value);
  renameSync(`${path}.new`, path);
}

module.exports = { hashOf, isStamped, readIfThere, stamp };
