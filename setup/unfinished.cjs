/**
 * Marks a folder while a program fills it. One that was cut short may have left
 * files that look whole to it the next time, so then the folder starts empty.
 */
"use strict";

const { existsSync, mkdirSync, rmSync, writeFileSync } = require("node:fs");
const { join } = require("node:path");

const MARK = ".ironmesh-unfinished";

function isUnfinished(folder) {
  return existsSync(join(folder, MARK));
}

/** Call before the program starts. Gives whether an earlier one was cut short. */
function begin(folder) {
  const wasCutShort = isUnfinished(folder);
  if (wasCutShort) rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, MARK), "");
  return wasCutShort;
}

/** Call after it succeeded. */
function finish(folder) {
  rmSync(join(folder, MARK), { force: true });
}

module.exports = { begin, finish, isUnfinished };
