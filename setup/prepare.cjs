/**
 * Makes this machine ready for `npm run demo` or `npm test`, and is run by npm
 * before both; or for being a host of a mesh (`host`). Plain CommonJS, because the Node that starts it is the machine's own:
 * 16 or newer, without node_modules. What is there already is left alone.
 *
 * What it touches: missing Debian packages, node_modules, proto/gen, and one
 * folder of its own (/var/cache/ironmesh, or IRONMESH_CACHE).
 */
"use strict";

const oldest = 16;
if (Number(process.versions.node.split(".")[0]) < oldest) {
  console.error("set-up: Node " + process.version + " cannot run the set-up: it needs Node " + oldest + " or newer (apt-get install nodejs)");
  process.exit(1);
}

const { cacheFolder, lockCache, makeCache } = require("./cache.cjs");
const { ensureEnvoy } = require("./envoy.cjs");
const { machineProblems } = require("./machine.cjs");
const { ensureNodeModules } = require("./node-modules.cjs");
const { ensurePackages } = require("./packages.cjs");
const { SetupError, say, spoke } = require("./progress.cjs");
const { ensureProto } = require("./proto.cjs");

const PURPOSES = ["demo", "test", "host"];

async function prepare(purpose) {
  if (!PURPOSES.includes(purpose)) throw new SetupError(`prepare what? one of: ${PURPOSES.join(", ")}`);
  const problems = machineProblems();
  if (problems.length > 0) throw new SetupError(["this machine cannot go on:", ...problems].join("\n  - "));

  const startedAt = Date.now();
  makeCache();
  await lockCache(async () => {
    await ensurePackages(purpose);
    await ensureNodeModules();
    await ensureEnvoy();
    await ensureProto();
  });
  if (spoke()) say(`ready (${Math.round((Date.now() - startedAt) / 1000)} s); what was fetched is in node_modules and ${cacheFolder()}`);
}

prepare(process.argv[2] || "test").catch((error) => {
  console.error(`set-up: ${error instanceof SetupError ? error.message : error.stack}`);
  process.exitCode = 1;
});
