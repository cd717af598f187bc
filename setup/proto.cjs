/** proto/gen, generated when what it is made of changed. */
"use strict";

const { readFileSync, readdirSync } = require("node:fs");
const { join } = require("node:path");
const { NODE } = require("./node-modules.cjs");
const { runWithProgress } = require("./progress.cjs");
const { hashOf, isStamped, stamp } = require("./stamp.cjs");

const root = join(__dirname, "..");
const proto = join(root, "proto");
const stampFile = join(proto, "gen", ".stamp");
const GENERATORS = ["@bufbuild/protoc-gen-es", "@bufbuild/protobuf", "@bufbuild/buf"];

function filesBelow(folder) {
  return readdirSync(folder, { withFileTypes: true })
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => (entry.isDirectory() ? filesBelow(join(folder, entry.name)) : [join(folder, entry.name)]));
}

function inputs() {
  const sources = readdirSync(proto, { withFileTypes: true })
    .filter((entry) => entry.name !== "gen")
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => (entry.isDirectory() ? filesBelow(join(proto, entry.name)) : [join(proto, entry.name)]));
  const generators = GENERATORS.map((name) => join(root, "node_modules", name, "package.json"));
  return hashOf([...sources, ...generators].flatMap((path) => [path.slice(root.length), readFileSync(path)]));
}

async function ensureProto() {
  const wanted = inputs();
  if (isStamped(stampFile, wanted)) return;
  await runWithProgress("generating Envoy's API (proto/gen)", NODE, [join(proto, "generate.ts")], { cwd: root });
  stamp(stampFile, wanted);
}

module.exports = { ensureProto };
